"""The compressed packets of one video stream, and which frame is in which.

Frames are counted in the order in which they are shown, which their timestamps
tell; nothing depends on a container's seeking.
"""

import bisect
import math
from collections.abc import Callable

from sigma_jax.data.containers import (
  DecodeError,
  is_whole_avi,
  stated_packets,
  stated_seconds,
)

# Codecs whose every packet is one shown frame; elsewhere (packed B-frames of
# DivX, hidden frames of VP8) frames are counted by decoding.
_FRAME_PER_PACKET = ("h264", "hevc", "vp9", "av1", "mjpeg")
_SLACK_FRAMES = 2  # containers that state a length round it


class Packets:
  """Packets in the file's order, read as far as they are needed.

  The index of an MP4 or MOV file lists them all, so that reading can stop at
  the last one wanted; any other file is read to its end at once.

  Attributes:
    read: packets read so far.
    num_frames: of the stream; None where only decoding can tell.
  """

  def __init__(self, path: str, container, stream, check_time: Callable):
    """Finds the packets.

    Args:
      path: for messages.
      container: opened for reading.
      stream: its video.
      check_time: called for each packet; may raise.

    Raises:
      DecodeError: there are none, or the file has been cut short.
    """
    self.read, self._path = [], path
    self._check_time = check_time
    self._coming = container.demux(stream)
    self._avi = "avi" in container.format.name.split(",")
    self._one_each = (
      stream.codec_context.codec.canonical_name in _FRAME_PER_PACKET
      and not self._avi
    )
    # Decoding times of all packets, where the index tells; else those of none.
    self._times = []
    stated = stated_packets(container, stream)
    if self._one_each and stated and stream.frames == stated:
      self.num_frames = self._take_index(container.size, stream.index_entries)
    if not self._times:
      self._read_all(container, stream, stated)

  def stamps(self, place: int) -> list[int] | None:
    """Timestamps of frames 0 .. place and maybe more, in the order shown.

    Reads on until they are known. None: they do not tell frames apart.
    """
    while True:
      stamps = self._shown()
      if stamps is None:
        return None
      # No frame is shown before it is decoded: what lies before the next
      # packet's decoding time is final.
      coming = len(self.read)
      final = self._times[coming] if coming < len(self._times) else math.inf
      known = bisect.bisect_left(stamps, final)
      if known > place:
        return stamps
      if not self._more(place + 1 - known):
        raise DecodeError(
          self._path, f"truncated: it ends after {known} of its frames"
        )

  def stretches(self, wanted: set[int]) -> list[list]:
    """Packets that give the frames at these stamps.

    Each stretch begins with a key frame and ends with a frame wanted, so that
    what follows the last one wanted of a group of pictures is left out.
    """
    keys, ends = [], []
    for number, packet in enumerate(self.read):
      if packet.is_keyframe:
        keys.append(number)
      if packet.pts not in wanted:
        continue
      # Frames shown before the key frame that they follow need an earlier one.
      begin = next(
        (k for k in reversed(keys) if self.read[k].pts <= packet.pts), 0
      )
      while ends and begin <= ends[-1][1] + 1:
        begin = min(begin, ends.pop()[0])
      ends.append((begin, number))
    return [self.read[begin : end + 1] for begin, end in ends]

  def all(self) -> list:
    """Every packet of the file."""
    self._more(math.inf)
    return self.read

  def rate(self, stream) -> float:
    """Frames a second on average; 0: unknown."""
    stamps = self._times_read() or [0]
    seconds = float((max(stamps) - min(stamps)) * stream.time_base)
    if self._avi and seconds:
      # It may leave most of the frames out that its rate promises.
      return (len(stamps) - 1) / seconds
    return float(stream.average_rate or 0)

  def _take_index(self, size: int, entries) -> int:
    """Notes when packets are decoded; how many of them are shown."""
    times, shown = [], 0
    for entry in entries:
      if entry.pos + entry.size > size:
        raise DecodeError(
          self._path, f"truncated: its index goes beyond its {size} bytes"
        )
      if not entry.size or (times and entry.timestamp <= times[-1]):
        return 0  # an odd index: let the packets themselves speak
      times.append(entry.timestamp)
      shown += not entry.is_discard
    self._times = times if shown else []
    return shown

  def _read_all(self, container, stream, stated: int) -> None:
    self._more(math.inf)
    if not self.read:
      raise DecodeError(self._path, "no frames in its video stream")
    if len(self.read) < stated or self._ends_early(container, stream):
      raise DecodeError(
        self._path,
        f"truncated: only {len(self.read)} of its frames are in the file",
      )
    stamps = self._shown()
    self.num_frames = None if stamps is None else len(stamps)

  def _more(self, count: float) -> bool:
    """Reads `count` more packets; whether there was one."""
    before = len(self.read)
    while len(self.read) < before + count:
      self._check_time()
      packet = next(self._coming, None)
      if packet is None:
        break
      if packet.is_corrupt:
        raise DecodeError(self._path, "truncated: a packet is incomplete")
      if not packet.size:
        continue
      place = len(self.read)
      self.read.append(packet)
      if place < len(self._times) and packet.dts != self._times[place]:
        self._times, count = [], math.inf  # not the index it seemed to be
    return len(self.read) > before

  def _shown(self) -> list[int] | None:
    """Sorted timestamps of what has been read, if they tell frames apart."""
    stamps = [p.pts for p in self.read if not p.is_discard]
    if not self._one_each or None in stamps or len(set(stamps)) < len(stamps):
      return None
    return sorted(stamps)

  def _times_read(self) -> list[int]:
    """A timestamp of each packet read that has one."""
    stamps = [p.dts if p.pts is None else p.pts for p in self.read]
    return [stamp for stamp in stamps if stamp is not None]

  def _ends_early(self, container, stream) -> bool:
    """Whether packets end well before the length the container states."""
    stated = stated_seconds(container, stream)
    stamps = self._times_read()
    if stated is None or not stamps:
      return False
    # AVI files may leave most of the frames out that their rate promises.
    steps = (max(stamps) - min(stamps)) / max(len(stamps) - 1, 1)
    apart = max(
      float(steps * stream.time_base), 1 / (stream.average_rate or 10)
    )
    end = float(max(stamps) * stream.time_base)
    if end >= stated - (1 + _SLACK_FRAMES) * apart:
      return False
    # The last frame of an AVI may be shown for longer than the others.
    avi = "avi" in container.format.name.split(",")
    return not (avi and is_whole_avi(self._path, container.size))
