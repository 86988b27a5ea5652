"""Frames of one video file, exact to the frame and in bounded time.

Frames are counted as a full sequential decode outputs them. The compressed
packets are read once and kept; frames are found among them by timestamp, and
decoding begins at the key frame before the first one wanted, so nothing
depends on a container's seeking. Where packets and frames do not pair up (AVI,
old codecs) the frames are counted by decoding instead.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.reformatter import VideoReformatter

from sigma_jax.data import transforms
from sigma_jax.data.containers import (
  DecodeError,
  check_file,
  one_error,
  stated_packets,
  stated_seconds,
  video_stream,
)

# Codecs whose every packet is one shown frame; elsewhere (packed B-frames of
# DivX, hidden frames of VP8) frames are counted by decoding.
_FRAME_PER_PACKET = ("h264", "hevc", "vp9", "av1", "mjpeg")
_MAX_PIXELS = 7680 * 4320  # of one frame: beyond 8K a header is not believed
_SLACK_FRAMES = 2  # containers that state a length round it


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a file holds.

  Attributes:
    num_frames: frames that a sequential decode gives.
    width: as stored, pixels; decoded frames are turned as metadata asks.
    height: as stored, pixels.
    fps: frames a second on average; 0 where the file does not say.
    codec: FFmpeg's name, such as h264.
  """

  num_frames: int
  width: int
  height: int
  fps: float
  codec: str


class Clip:
  """One opened file: `with Clip(path, timeout) as clip: clip.read(...)`.

  Not for use by two threads at once.

  Attributes:
    info: VideoInfo.
    num_frames: frames that may be asked for.
  """

  def __init__(self, path: str, timeout: float):
    """Opens a file and finds its frames.

    Args:
      path: the file.
      timeout: seconds allowed from here to the end of the last read.

    Raises:
      DecodeError: missing, empty, no video, truncated, absurd, too slow.
    """
    self.path = path
    self._timeout = timeout
    self._deadline = time.monotonic() + timeout
    self._reformatter = VideoReformatter()
    self._packets, self._container = [], None
    try:
      with one_error(
        path, "not a readable video: damaged, cut short or no video at all"
      ):
        self._open()
    except DecodeError:
      self.close()
      raise

  def __enter__(self) -> "Clip":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Frees the file and its memory; twice does no harm."""
    self._packets, self._stream = [], None
    if self._container is not None:
      self._container.close()
      self._container = None

  def read(
    self,
    indices: np.ndarray,
    box_of: Callable[[int, int], tuple[int, int, int, int]] | None = None,
    size: int = 0,
  ) -> np.ndarray:
    """Decodes frames: as `sources.Video.read`.

    Args:
      indices: integers [n], from 0, in any order, repeats allowed.
      box_of: width, height -> x, y, width, height; None: the whole frame.
      size: side of the square that the box is scaled to, pixels.

    Returns:
      uint8 [n, h, w, 3] or [n, size, size, 3], RGB, upright, in the order of
      `indices`.

    Raises:
      DecodeError: any of these frames cannot be had in time.
      ValueError: indices are empty, negative or not integers.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or not indices.size or indices.dtype.kind not in "iu":
      raise ValueError(f"frame indices must be integers [n], got {indices!r}")
    if indices.min() < 0:
      raise ValueError(f"frame indices start at 0, got {indices.min()}")
    if indices.max() >= self.num_frames:
      raise DecodeError(
        self.path, f"frame {indices.max()} wanted of {self.num_frames}"
      )
    places, order = np.unique(indices, return_inverse=True)
    with one_error(self.path, "damaged: its frames cannot be decoded"):
      frames = self._read(places)
    if box_of is not None:
      height, width = frames.shape[1:3]
      frames = transforms.crop_resize(frames, box_of(width, height), size)
    return frames[order]

  def _open(self) -> None:
    check_file(self.path)
    # Some HMDB51 files carry metadata that are not UTF-8.
    self._container = container = av.open(
      self.path, metadata_errors="ignore", timeout=self._timeout
    )
    self._stream = stream = video_stream(self.path, container)
    context = stream.codec_context
    context.thread_count, context.thread_type = 1, ThreadType.NONE
    self._codec = context.codec.canonical_name
    self._check_size(context.width, context.height)
    stated = stated_packets(container, stream)
    self._collect()
    if len(self._packets) < stated or self._ends_early():
      raise DecodeError(
        self.path,
        f"truncated: only {len(self._packets)} of its frames are in the file",
      )
    self._find_frames()
    fps = stream.average_rate or 0
    self.info = VideoInfo(
      self.num_frames, context.width, context.height, float(fps), self._codec
    )

  def _collect(self) -> None:
    for packet in self._container.demux(self._stream):
      self._check_time()
      if packet.is_corrupt:
        raise DecodeError(self.path, "truncated: a packet is incomplete")
      if packet.size:
        self._packets.append(packet)
    if not self._packets:
      raise DecodeError(self.path, "no frames in its video stream")

  def _ends_early(self) -> bool:
    """Whether packets end well before the length the container states."""
    stated = stated_seconds(self._container, self._stream)
    if stated is None:
      return False
    stamps = [p.dts if p.pts is None else p.pts for p in self._packets]
    stamps = [s for s in stamps if s is not None]
    if not stamps:
      return False
    end = float(max(stamps) * self._stream.time_base)
    fps = float(self._stream.average_rate or 10)
    return end < stated - (1 + _SLACK_FRAMES) / fps

  def _find_frames(self) -> None:
    """Sets num_frames and, where packets tell them, the frames' stamps."""
    shown = [p.pts for p in self._packets if not p.is_discard]
    by_packet = (
      self._codec in _FRAME_PER_PACKET
      and "avi" not in self._container.format.name.split(",")
      and None not in shown
      and len(set(shown)) == len(shown)
    )
    if by_packet:
      self._stamps = sorted(shown)
      self.num_frames = len(shown)
    else:
      self._stamps = None
      self.num_frames = sum(1 for _ in self._decode(0))
    if not self.num_frames:
      raise DecodeError(self.path, "no frame of it decodes")

  def _read(self, places: np.ndarray) -> np.ndarray:
    """Frames at increasing places, uint8 [n, h, w, 3]."""
    if self._stamps is None:
      frames = self._pick(enumerate(self._decode(0)), set(places.tolist()))
      keys = places.tolist()
    else:
      keys = [self._stamps[place] for place in places]
      start = self._key_packet(set(keys), keys[0])
      frames = self._pick(self._stamped(start, set(keys)), set(keys))
      if len(frames) < len(keys):
        # Some streams' key frames do not stand alone: from the very start.
        frames = self._pick(self._stamped(0, None), set(keys))
    for place, key in zip(places, keys, strict=True):
      if key not in frames:
        raise DecodeError(
          self.path, f"frame {place} of {self.num_frames} does not decode"
        )
    if len({frame.shape for frame in frames.values()}) > 1:
      raise DecodeError(self.path, "its frames change size")
    return np.stack([frames[key] for key in keys])

  def _key_packet(self, stamps: set[int], first: int) -> int:
    """The last packet from which all frames at `stamps` can be decoded."""
    start = 0
    for number, packet in enumerate(self._packets):
      if packet.is_keyframe and packet.pts <= first:
        start = number
      if packet.pts in stamps:
        break
    return start

  def _stamped(self, start: int, wanted: set[int] | None):
    for frame in self._decode(start, wanted):
      yield frame.pts, frame

  def _decode(self, start: int, wanted: set[int] | None = None) -> Iterator:
    """Frames from a packet on, in the order they are shown.

    With `wanted`, H.264 frames that no other frame needs are left out unless
    their stamp is in it: half the work for the usual clip.
    """
    context = self._stream.codec_context
    if context.is_open:
      context.flush_buffers()
    skip = wanted is not None and self._codec == "h264"
    context.skip_frame = "DEFAULT"
    for packet in self._packets[start:]:
      self._check_time()
      if skip:
        context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
      yield from context.decode(packet)
    yield from context.decode(None)

  def _pick(self, frames, keys: set) -> dict:
    """RGB of the frames with these keys, as far as they come."""
    found = {}
    for key, frame in frames:
      if key in keys and key not in found:
        found[key] = self._to_rgb(frame)
        if len(found) == len(keys):
          break
    return found

  def _to_rgb(self, frame) -> np.ndarray:
    if frame.is_corrupt:
      raise DecodeError(self.path, "a frame is damaged")
    self._check_size(frame.width, frame.height)
    rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90
    return np.rot90(rgb.to_ndarray(), turns) if turns else rgb.to_ndarray()

  def _check_size(self, width: int, height: int) -> None:
    if not 0 < width * height <= _MAX_PIXELS:
      raise DecodeError(self.path, f"absurd size: {width} x {height} pixels")

  def _check_time(self) -> None:
    if time.monotonic() > self._deadline:
      raise DecodeError(self.path, f"timeout after {self._timeout:g} s")


def probe(path: str, timeout: float = 30.0) -> VideoInfo:
  """What a file holds; raises DecodeError as Clip does (timeout: seconds)."""
  with Clip(path, timeout) as clip:
    return clip.info


def decode_frames(
  path: str, indices: np.ndarray, timeout: float = 30.0
) -> np.ndarray:
  """Opens a file for one `Clip.read`: uint8 [n, h, w, 3], errors as there."""
  with Clip(path, timeout) as clip:
    return clip.read(indices)
