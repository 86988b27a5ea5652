"""Frames of one video file, exact to the frame and in bounded time.

Frame i is frame i of a full sequential decode. Where the packets' headers tell
which of them holds it (`packets`), decoding goes from a key frame to the last
frame wanted of its group, and on to the next group that is needed. Where they
do not, the file is decoded once to count its frames (`index`), and each clip
from the start to its last frame.
"""

import io
import time
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from sigma_jax.data.tars.member import Member
from sigma_jax.data.video import containers, deadline, index
from sigma_jax.data.video.containers import DecodeError, one_error
from sigma_jax.data.video.decoder import Decoder, decoded_index
from sigma_jax.data.video.info import VideoInfo
from sigma_jax.data.video.orientation import View
from sigma_jax.data.video.packets import Packets
from sigma_jax.data.video.pixels import BoxOf, Pixels, arranged, check_size

# Seconds that a call into FFmpeg may go on past a file's timeout. The slowest
# one seen took 2 (8K frames).
_GRACE = 20.0


class Clip:
  """One opened file: `with Clip(path, timeout) as clip: clip.read(...)`.

  Not for use by two threads at once.

  Attributes:
    info: VideoInfo.
    num_frames: frames that may be asked for.
  """

  def __init__(self, path: str | Member, timeout: float):
    """Opens a file and finds its frames.

    Args:
      path: the file, local, gs:// or in a tar.
      timeout: seconds allowed from here to the end of the last read.

    Raises:
      DecodeError: missing, empty, no video, truncated, absurd, too slow.
      UserError: there is no way to read such paths.
    """
    self.path, self._file = str(path), path
    self._timeout = timeout
    self._deadline = time.monotonic() + timeout
    self._packets, self._container, self._decoder = None, None, None
    self._index, self._view = None, None
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
    self._packets = None
    for opened in (self._decoder, self._container):
      if opened is not None:
        opened.close()
    self._decoder = self._container = None

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
    pixels = Pixels(len(places), box_of, size, antialias, self._view_of)
    self._bounded(lambda: self._read(places.tolist(), pixels))
    return arranged(pixels.frames, order, box_of)

  def times(self, indices: np.ndarray) -> np.ndarray:
    """As `sources.Video.times`: what the file's packets carry."""
    if self._index is None:
      return self._packets.seconds()[indices]
    return self._index.times[indices]

  def all_times(self) -> np.ndarray:
    """When each frame is shown, float64 [num_frames], as `times` tells it.

    The first time that a process asks for a file's, all of it is read.

    Raises:
      DecodeError: it cannot be read in time.
    """
    if self._index is not None:
      return self._index.times
    key = self._key, "times"
    if (known := index.recall(key)) is None:
      with one_error(self.path, "damaged: its packets cannot be read"):
        self._bounded(self._packets.all)
      known = index.Times(self._packets.seconds())
      index.keep(key, known)
    return known.times

  def frames(
    self, first: int = 0, last: int | None = None
  ) -> Iterator[tuple[av.VideoFrame, View]]:
    """Frames in turn, as decoded, and how they are to be shown.

    Args:
      first: where to begin, which is decoded from the key frame before it.
      last: the frame behind the last one; None: to the end.

    Raises:
      DecodeError: one of them cannot be had in time.
    """
    last = self.num_frames if last is None else last
    with one_error(self.path, "damaged: its frames cannot be decoded"):
      keys, decoded = range(first, last), None
      if self._index is None:
        keys = self._packets.frames(last - 1)[first:].tolist()
        decoded = self._stretch(keys) if first else None
      for place, key in enumerate(keys, first):
        frame = decoded and _next_of(key, decoded)
        if frame is None:
          # At first, or the key frame does not stand alone.
          decoded = self._numbered()
          frame = _next_of(key, decoded)
        if frame is None:
          raise self._no_frame(place)
        yield frame, self._view_of(frame)

  def _stretch(self, keys: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames of these packets, from the key frame before them."""
    for packets in self._packets.stretches(set(keys)):
      yield from self._decoder.of(packets, set(keys))

  def _numbered(self) -> Iterator[tuple[int, av.VideoFrame]]:
    """All frames, each with its packet's number, or its place if none tell."""
    if self._index is None:
      return ((frame.pts, frame) for frame in self._from_start())
    return enumerate(self._from_start())

  def _bounded(self, call: Callable[[], None]) -> None:
    """Makes a call; leaves it behind if it does not notice the deadline."""
    left = max(self._deadline - time.monotonic(), 0)
    try:
      deadline.within(left + _GRACE, call)
    except deadline.Overdue as error:
      # The call may still use them: closing is its business now.
      self._packets = self._decoder = self._container = None
      raise DecodeError(
        self.path,
        f"stalled: no answer within {_GRACE:g} s of the timeout of "
        f"{self._timeout:g} s, from the disk or from the decoder",
      ) from error

  def _open(self) -> None:
    file = containers.readable(self._file)
    with one_error(
      self.path, "not a readable video: damaged, cut short or no video at all"
    ):
      self._inspect(file)

  def _inspect(self, file: str | io.BytesIO) -> None:
    self._container = container = containers.opened(file, self._timeout)
    stream = containers.video_stream(self.path, container)
    self._decoder = Decoder(file, stream, self._timeout, self._check_time)
    context = self._decoder.context
    check_size(self.path, context.width, context.height)
    self._stated = context.width, context.height
    self._key = key = index.key_of(self.path, file)
    known = index.recall(key)
    self._packets = packets = Packets(
      self.path, file, container, stream, self._check_time, known
    )
    if packets.num_frames is None:
      known = known if isinstance(known, index.Index) else self._make_index()
      self._index = known
      self._view, times = self._index.view, self._index.times
      self._stated = self._view.width, self._view.height
      self.num_frames, fps = len(times), packets.stated_rate()
      if times[-1] > 0:
        fps = (len(times) - 1) / float(times[-1])
    else:
      self.num_frames, fps = packets.num_frames, packets.rate()
    index.keep(key, self._index or packets.pairing)
    size, codec = self._stated, self._decoder.codec
    self.info = VideoInfo(self.num_frames, *size, fps, codec)

  def damage(self) -> str:
    """What a decode of the whole file meets behind its first frame.

    Decoders pass over damage or conceal it, and so do `read` and players.

    Returns:
      One line, or "" where there is nothing.
    """
    seen = marked = at_start = 0
    for frame in self._from_start():
      at_start = at_start if seen else self._decoder.refused
      seen += 1
      marked += frame.is_corrupt
    lost = self._decoder.refused - at_start
    if not lost and not marked:
      return ""
    return (
      f"damaged: {lost} of its packets do not decode, and the decoder marks "
      f"{marked} of its {seen} frames as damaged"
    )

  def _make_index(self) -> index.Index:
    frames, seconds = self._from_start(), self._packets.seconds
    return decoded_index(self.path, self._decoder, frames, seconds)

  def _read(self, places: list[int], pixels: Pixels) -> None:
    """Fills in the frames at increasing places."""
    with one_error(self.path, "damaged: its frames cannot be decoded"):
      self._find(places, pixels)

  def _find(self, places: list[int], pixels: Pixels) -> None:
    if self._index is None:
      keys = self._packets.frames(places[-1])[places].tolist()
      for packets in self._packets.stretches(set(keys)):
        pixels.pick(self._decoder.of(packets, set(keys)), keys)
      if pixels.lacking(keys):
        # Some streams' key frames do not stand alone: from the very start.
        pixels.pick(self._numbered(), keys)
    else:
      keys = places
      pixels.pick(self._numbered(), keys)
    lacking = pixels.lacking(keys)
    if lacking:
      raise self._no_frame(places[keys.index(lacking[0])])

  def _no_frame(self, place: int) -> DecodeError:
    return DecodeError(
      self.path, f"frame {place} of {self.num_frames} does not decode"
    )

  def _view_of(self, frame: av.VideoFrame) -> View:
    """How all frames are shown: as the first one, not as any of the others."""
    if self._view is None:
      size = frame.width, frame.height
      self._view = View.of(frame)
      if self._packets.oriented or size != self._stated:
        first = self._decoder.first(self._packets.all())
        self._view = View.of(frame if first is None else first)
      check_size(self.path, self._view.width, self._view.height)
    return self._view

  def _from_start(self) -> Iterator[av.VideoFrame]:
    return self._decoder.from_start(self._packets.all())

  def _check_time(self) -> None:
    if time.monotonic() > self._deadline:
      raise DecodeError(self.path, f"timeout after {self._timeout:g} s")


def _next_of(
  key: int, decoded: Iterator[tuple[int, av.VideoFrame]]
) -> av.VideoFrame | None:
  return next((frame for found, frame in decoded if found == key), None)


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
