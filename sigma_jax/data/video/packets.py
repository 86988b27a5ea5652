"""The compressed packets of one video stream, and which frame is in which.

Packets are numbered in the file's order and carry their numbers through the
decoder in place of their times, so that each frame tells which packet it is of,
whatever the times say. Nothing depends on a container's seeking.
"""

import array
import bisect
import io
import math
from collections.abc import Callable

import numpy as np

from sigma_jax.data.video import index, pairing, shown_times, whole
from sigma_jax.data.video.containers import DecodeError, ranges, stated_seconds

_SLACK_FRAMES = 2  # containers that state a length round it


class Packets:
  """Packets in the file's order, read as far as they are needed.

  The index of an MP4 or MOV file lists them all, so that reading can stop at
  the last one wanted; any other file is read to its end at once.

  Attributes:
    read: packets read so far, `pts` being their numbers.
    num_frames: of the stream; None where only decoding can tell.
    oriented: whether messages in the stream say how to turn its pictures.
    pairing: what headers told; None: not enough.
  """

  def __init__(
    self,
    path: str,
    file: str | io.BytesIO,
    container,
    stream,
    check_time: Callable[[], None],
    known: index.Found | None,
  ):
    """Finds the packets.

    Args:
      path: for messages.
      file: what `readable` gave.
      container: opened for reading.
      stream: its video; its decoder has not been used.
      check_time: called for each packet; may raise.
      known: what an earlier opening of the same file found.

    Raises:
      DecodeError: there are none, or the file has been cut short.
    """
    self.read, self._path, self._file = [], path, file
    self._check_time, self._stream = check_time, stream
    self._coming = container.demux(stream)
    names = container.format.name.split(",")
    context = stream.codec_context
    self._pair = context.codec.canonical_name, context.extradata
    self._held = context.reorder_depth  # before decoding may change it
    self._lossy = "mpegts" in names  # a lost packet there is no cut
    # Python's own numbers would take 160 bytes a packet: 16 MB an hour.
    self._pts, self._dts = array.array("d"), array.array("d")
    self._corrupt = False
    self._order, self._starts, self.oriented = None, None, False
    self.pairing, self._known = None, known
    self._listed = None  # packets, by an index that lists them all
    stated = 0
    if "mp4" in names:
      stated = self._take_index(container.size, stream)
    if self._order is None:
      self._read_all(container, names, stated)

  @property
  def num_frames(self) -> int | None:
    return None if self._order is None else len(self._order)

  def frames(self, last: int) -> np.ndarray:
    """Numbers of the packets of frames 0 to last, in the order shown.

    Reads on until they are there.
    """
    places = self._order[: last + 1]
    missing = int(places.max()) + 1 - len(self.read)
    if missing > 0:
      self._more(missing)
      if int(self._order[: last + 1].max()) >= len(self.read):
        raise DecodeError(
          self._path, f"truncated: it ends after {len(self.read)} packets"
        )
    return self._order[: last + 1]

  def stretches(self, wanted: set[int]) -> list[list]:
    """Packets that give the frames of the wanted ones.

    Each stretch begins where decoding may begin and ends with a frame wanted,
    so that what follows the last one wanted of a group of pictures is left out.
    """
    return [self.read[begin : end + 1] for begin, end in self.spans(wanted)]

  def spans(self, wanted: set[int]) -> list[tuple[int, int]]:
    """Numbers of the first and last packet of each of the `stretches`."""
    ends = []
    keys = [
      number
      for number in np.flatnonzero(self._starts[: len(self.read)]).tolist()
      if self.read[number].is_keyframe and self._places[number] >= 0
    ]
    for number in sorted(wanted):
      place, before = self._places[number], bisect.bisect_right(keys, number)
      # Frames shown before the key frame that they follow need an earlier one.
      begin = next(
        (
          keys[i]
          for i in range(before - 1, -1, -1)
          if self._places[keys[i]] <= place
        ),
        0,
      )
      while ends and begin <= ends[-1][1] + 1:
        begin = min(begin, ends.pop()[0])
      ends.append((begin, number))
    return ends

  def all(self) -> list:
    """Every packet of the file."""
    self._more(math.inf)
    return self.read

  def seconds(self, order: np.ndarray | None = None) -> np.ndarray:
    """When frames are shown, seconds after the first: float64 [n].

    Args:
      order: the packets of all frames; None: those that are known here, as far
        as they have been read.
    """
    if order is None:
      order = self._order[self._order < len(self.read)]
    rate = self.stated_rate()
    base = float(self._stream.time_base)
    return shown_times.seconds(order, self._pts, self._dts, base, rate)

  def stated_rate(self) -> float:
    """Frames a second by the header; 0: it does not say."""
    return float(self._stream.average_rate or self._stream.guessed_rate or 0)

  def rate(self) -> float:
    """Frames a second from the first to the last; 0: unknown."""
    if self._listed is None:
      times = self.seconds()
      length = times[-1]
    else:
      times = self._listed[~self._hidden]
      length = float((times[-1] - times[0]) * self._stream.time_base)
    return (len(times) - 1) / length if length > 0 else self.stated_rate()

  def _take_index(self, size: int, stream) -> int:
    """Pairs packets and frames by an index; how many packets it lists."""
    row = np.dtype((np.int64, 4))
    entries = np.fromiter(
      (
        (e.pos, e.size, e.timestamp, e.is_discard) for e in stream.index_entries
      ),
      row,
    )
    entries = entries[entries[:, 1] > 0]  # pictures that were left out
    places, sizes, times, hidden = entries.T
    if (places + sizes > size).any():
      raise DecodeError(
        self._path, f"truncated: its index goes beyond its {size} bytes"
      )
    if not len(entries) or stream.frames != len(stream.index_entries):
      return len(entries)  # fragments, of which an index lists the first
    if pairing.knows(self._pair[0]) and (np.diff(times) > 0).all():
      with ranges(self._file) as read:
        self._take(pairing.blocks_at(places, sizes, read), hidden > 0)
      self._listed = None if self._order is None else times
    return len(entries)

  def _take(self, blocks, hidden: np.ndarray) -> None:
    """Pairs packets and frames if their headers allow it."""
    found = self._known
    if found is None:
      found = pairing.pair(*self._pair, self._held, blocks)
    elif isinstance(found, index.Index):
      found = None
    self.pairing = found
    if found is None or hidden[found.order].all():
      self._order = None
      return
    order = found.order
    self._places = np.full(len(hidden), -1)  # of packets' frames, as shown
    self._places[order] = np.arange(len(order))
    self._order, self._starts = order[~hidden[order]], found.starts
    self._hidden, self.oriented = hidden, found.oriented

  def _read_all(self, container, names: list[str], stated: int) -> None:
    self._more(math.inf)
    if not self.read:
      raise DecodeError(self._path, "no frames in its video stream")
    if len(self.read) < stated or self._ends_early(container, names):
      raise DecodeError(
        self._path,
        f"truncated: only {len(self.read)} of its frames are in the file",
      )
    # AVI files are known for packets that stand for the frame before them.
    if not self._corrupt and "avi" not in names:
      self._pair_read()

  def _pair_read(self) -> None:
    hidden = np.array([packet.is_discard for packet in self.read])
    self._take(pairing.blocks_of(self.read), hidden)

  def _more(self, count: float) -> None:
    """Reads `count` more packets, as far as there are any."""
    until = len(self.read) + count
    while len(self.read) < until:
      self._check_time()
      packet = next(self._coming, None)
      if packet is None:
        return
      if packet.is_corrupt:
        if not self._lossy:
          raise DecodeError(self._path, "truncated: a packet is incomplete")
        self._corrupt = True
      if not packet.size:
        continue
      number = len(self.read)
      self._pts.append(math.nan if packet.pts is None else packet.pts)
      self._dts.append(math.nan if packet.dts is None else packet.dts)
      self._keep(packet)
      packet.pts = number
      if self._listed is not None and (
        number >= len(self._listed) or self._dts[-1] != self._listed[number]
      ):
        self._forget_index()

  def _keep(self, packet) -> None:
    self.read.append(packet)

  def _forget_index(self) -> None:
    """Pairs by the packets themselves: the index was not of them."""
    promised, self._listed, self._known = self.num_frames, None, None
    self._more(math.inf)
    self._pair_read()
    if self.num_frames != promised:
      raise DecodeError(
        self._path, "damaged: its index does not fit the frames in it"
      )

  def _ends_early(self, container, names: list[str]) -> bool:
    """Whether packets end before the length that the container states."""
    stated = stated_seconds(container, self._stream)
    pts, dts = np.array(self._pts), np.array(self._dts)
    stamps = np.where(np.isnan(pts), dts, pts)
    ends = stamps + [packet.duration or 0 for packet in self.read]
    known = ~np.isnan(stamps)
    if stated is None or not known.any():
      return False
    stream, stamps, ends = self._stream, stamps[known], ends[known]
    # AVI files may leave most of the frames out that their rate promises.
    steps = (stamps.max() - stamps.min()) / max(len(stamps) - 1, 1)
    apart = max(
      steps * float(stream.time_base), 1 / (stream.average_rate or 10)
    )
    end = max(
      ends.max() * float(stream.time_base),
      stamps.max() * float(stream.time_base) + apart,
    )
    if end >= stated - _SLACK_FRAMES * apart:
      return False
    # The last frame may be shown for longer than the others.
    checks = {"avi": whole.avi, "matroska": whole.matroska}
    check = next((checks[name] for name in names if name in checks), None)
    with ranges(self._file) as read:
      return check is None or not check(read, container.size)
