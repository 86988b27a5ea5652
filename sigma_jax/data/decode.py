"""Frames of one video file, exact to the frame and in bounded time.

Frames are counted as a full sequential decode outputs them. The compressed
packets are read and kept as far as they are needed and frames found among them
by timestamp. Decoding goes from a key frame to the last frame wanted of its
group, and on to the next group that is needed. Where packets and frames do not
pair up (AVI, old codecs) the frames are counted by decoding instead.
"""

import dataclasses
import io
import time
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np
from av.codec.context import ThreadType

from sigma_jax.data import deadline
from sigma_jax.data.containers import (
  DecodeError,
  even_times,
  one_error,
  readable,
  video_stream,
)
from sigma_jax.data.packets import Packets
from sigma_jax.data.pixels import BoxOf, Pixels, arranged, check_size

# Seconds that a call into FFmpeg may go on past a file's timeout. The slowest
# one seen took 2 (8K frames).
_GRACE = 20.0


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
      path: the file, local or gs://.
      timeout: seconds allowed from here to the end of the last read.

    Raises:
      DecodeError: missing, empty, no video, truncated, absurd, too slow.
      UserError: there is no way to read such paths.
    """
    self.path = path
    self._timeout = timeout
    self._deadline = time.monotonic() + timeout
    self._packets, self._container = None, None
    self._stamps = None  # of the first frames, in the order shown, once read
    try:
      self._bounded(self._open)
    except DecodeError:
      self.close()
      raise

  def __enter__(self) -> "Clip":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Frees the file and its memory; twice does no harm."""
    self._packets, self._stream = None, None
    if self._container is not None:
      self._container.close()
      self._container = None

  def read(
    self,
    indices: np.ndarray,
    box_of: BoxOf | Sequence[BoxOf] | None = None,
    size: int = 0,
    antialias: bool = True,
  ) -> np.ndarray:
    """Decodes frames: as `sources.Video.read`.

    Args:
      indices: integers [n], from 0, in any order, repeats allowed.
      box_of: width, height -> x, y, width, height; or several of these; None:
        the whole frame.
      size: side of the square that a box is scaled to, pixels.
      antialias: of `settings.Data`.

    Returns:
      uint8 [n, h, w, 3], [n, size, size, 3] or [boxes, n, size, size, 3], RGB,
      upright, in the order of `indices`.

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
    pixels = Pixels(self.path, len(places), box_of, size, antialias)
    self._bounded(lambda: self._read(places.tolist(), pixels))
    return arranged(pixels.frames, order, box_of)

  def times(self, indices: np.ndarray) -> np.ndarray:
    """As `sources.Video.times`: the file's timestamps.

    Where packets and frames do not pair up (AVI, old codecs), the average rate.
    """
    if self._stamps is None:
      return even_times(indices, self.info.fps)
    stamps = np.asarray(self._stamps)
    return (stamps[indices] - stamps[0]) * float(self._stream.time_base)

  def frames(self) -> Iterator[av.VideoFrame]:
    """All frames in turn, as decoded: not turned, not kept.

    Raises:
      DecodeError: one of them cannot be had in time.
    """
    with one_error(self.path, "damaged: its frames cannot be decoded"):
      keys = self._packets.stamps(self.num_frames - 1)
      decoded = self._decode(self._packets.all())
      decoded = _stamped(decoded) if keys else enumerate(decoded)
      for place, key in enumerate(keys or range(self.num_frames)):
        frame = next((f for found, f in decoded if found == key), None)
        if frame is None or frame.is_corrupt:
          raise DecodeError(
            self.path, f"frame {place} of {self.num_frames} does not decode"
          )
        yield frame

  def _bounded(self, call: Callable[[], None]) -> None:
    """Makes a call; leaves it behind if it does not notice the deadline."""
    left = max(self._deadline - time.monotonic(), 0)
    try:
      deadline.within(left + _GRACE, call)
    except deadline.Overdue as error:
      # The call may still use them: closing is its business now.
      self._packets = self._stream = self._container = None
      raise DecodeError(
        self.path,
        f"stalled: no answer within {_GRACE:g} s of the timeout of "
        f"{self._timeout:g} s, from the disk or from the decoder",
      ) from error

  def _open(self) -> None:
    file = readable(self.path)
    with one_error(
      self.path, "not a readable video: damaged, cut short or no video at all"
    ):
      self._inspect(file)

  def _inspect(self, file: str | io.BytesIO) -> None:
    # Some HMDB51 files carry metadata that are not UTF-8.
    self._container = container = av.open(
      file, metadata_errors="ignore", timeout=self._timeout
    )
    self._stream = stream = video_stream(self.path, container)
    context = stream.codec_context
    context.thread_count, context.thread_type = 1, ThreadType.NONE
    self._codec = context.codec.canonical_name
    check_size(self.path, context.width, context.height)
    self._packets = Packets(self.path, container, stream, self._check_time)
    self.num_frames = self._packets.num_frames
    if self.num_frames is None:
      self.num_frames = sum(1 for _ in self._decode(self._packets.read))
    if not self.num_frames:
      raise DecodeError(self.path, "no frame of it decodes")
    fps = self._packets.rate(stream)
    self.info = VideoInfo(
      self.num_frames, context.width, context.height, fps, self._codec
    )

  def _read(self, places: list[int], pixels: Pixels) -> None:
    """Fills in the frames at increasing places."""
    with one_error(self.path, "damaged: its frames cannot be decoded"):
      self._find(places, pixels)

  def _find(self, places: list[int], pixels: Pixels) -> None:
    self._stamps = stamps = self._packets.stamps(places[-1])
    if stamps is None:
      keys = places
      pixels.pick(enumerate(self._decode(self._packets.all())), keys)
    else:
      keys = [stamps[place] for place in places]
      for packets in self._packets.stretches(set(keys)):
        pixels.pick(_stamped(self._decode(packets, set(keys))), keys)
      if pixels.lacking(keys):
        # Some streams' key frames do not stand alone: from the very start.
        pixels.pick(_stamped(self._decode(self._packets.all())), keys)
    lacking = pixels.lacking(keys)
    if lacking:
      place = places[keys.index(lacking[0])]
      raise DecodeError(
        self.path, f"frame {place} of {self.num_frames} does not decode"
      )

  def _decode(
    self, packets: list[av.Packet], wanted: set[int] | None = None
  ) -> Iterator[av.VideoFrame]:
    """Frames of packets in turn, in the order they are shown.

    With `wanted`, H.264 frames that no other frame needs are left out unless
    their stamp is in it: half the work for the usual clip. What is decoded is
    decoded in full: leaving out the loop filter would change the frames that
    are predicted from it.
    """
    context = self._stream.codec_context
    if context.is_open:
      context.flush_buffers()
    context.skip_frame = "DEFAULT"
    skip = wanted is not None and self._codec == "h264"
    for packet in packets:
      self._check_time()
      if skip:
        context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
      yield from context.decode(packet)
    yield from context.decode(None)

  def _check_time(self) -> None:
    if time.monotonic() > self._deadline:
      raise DecodeError(self.path, f"timeout after {self._timeout:g} s")


def _stamped(frames: Iterator) -> Iterator[tuple[int, av.VideoFrame]]:
  return ((frame.pts, frame) for frame in frames)


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
