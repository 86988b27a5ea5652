"""FFmpeg's decoder of one stream, as all of this package uses it."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator

import av
import numpy as np
from av.codec.context import ThreadType

from sigma_jax.data.video import containers, index
from sigma_jax.data.video.containers import DecodeError
from sigma_jax.data.video.orientation import View
from sigma_jax.data.video.pixels import check_size

# What a decoder raises of a packet that it can make nothing of, such as one
# without a picture. It goes on with the next, as players do.
_REFUSED = (
  av.error.InvalidDataError,
  av.error.PatchWelcomeError,
  av.error.ArgumentError,
  av.error.BugError,
  av.error.NotImplementedError,
  av.error.PermissionError,  # -1, of old decoders
)


def prepared(stream):
  """The decoder of a stream; parallelism is over files."""
  context = stream.codec_context
  context.thread_count, context.thread_type = 1, ThreadType.NONE
  return context


def frames_of(context, packet: av.Packet | None) -> list | None:
  """Frames that come out as a packet goes in; None if it is refused."""
  try:
    return context.decode(packet)
  except _REFUSED:
    return None


class Decoder:
  """Frames of an opened file's video stream.

  Attributes:
    context: FFmpeg's, prepared; it has seen no packet yet.
    codec: FFmpeg's name.
    refused: packets that the decoder could make nothing of, since `from_start`
      began last.
  """

  def __init__(
    self,
    file: str | io.BytesIO,
    stream,
    timeout: float,
    check_time: Callable[[], None],
  ):
    """Prepares the decoder of `stream`.

    Args:
      file: what `containers.readable` gave; opened again where a decoder that
        has seen nothing is needed.
      stream: of a container that the caller opened and closes.
      timeout: of `containers.opened`, seconds.
      check_time: called before each packet; raises when the time is over.
    """
    self._file, self._stream, self._timeout = file, stream, timeout
    self._check_time, self._spare, self._fresh = check_time, None, True
    self.context = context = prepared(stream)
    self.codec, self._held = context.codec.canonical_name, context.reorder_depth
    self.refused = 0

  def close(self) -> None:
    """Frees what was opened here; twice does no harm."""
    self._stream = self.context = None
    if self._spare is not None:
      self._spare.close()
      self._spare = None

  def of(
    self, packets: Iterable[av.Packet], wanted: set[int]
  ) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames of a stretch of packets, and which packet each is of.

    H.264 frames that no other frame needs are left out unless wanted: half the
    work for the usual clip. What is decoded is decoded in full: leaving out the
    loop filter would change the frames that are predicted from it.

    Args:
      packets: from a key frame on.
      wanted: presentation times of frames.
    """
    context = self.context
    if context.is_open:
      context.flush_buffers()
    self._fresh, context.reorder_depth = False, self._held
    for packet in itertools.chain(packets, (None,)):
      if packet is not None:
        self._check_time()
      if packet is not None and self.codec == "h264":
        needed = packet.pts in wanted
        context.skip_frame = "DEFAULT" if needed else "NONREF"
      for frame in frames_of(context, packet) or ():
        yield frame.pts, frame

  def from_start(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
    """All frames in the decoder's order; `packets` are all of the file's.

    By a decoder that has seen nothing yet: what it has learnt of a stream
    changes which frames it gives of the beginning.
    """
    context = self.context
    if not self._fresh:
      if self._spare is not None:
        self._spare.close()
      self._spare = containers.opened(self._file, self._timeout)
      context = prepared(self._spare.streams[self._stream.index])
    self._fresh, self.refused = False, 0
    return self._decoded(context, packets)

  def first(self, packets: Iterable[av.Packet]) -> av.VideoFrame | None:
    """The first frame, by a decoder of its own; None if there is none."""
    with containers.opened(self._file, self._timeout) as container:
      context = prepared(container.streams[self._stream.index])
      return next(self._decoded(context, packets), None)

  def _decoded(self, context, packets) -> Iterator[av.VideoFrame]:
    for packet in itertools.chain(packets, (None,)):
      self._check_time()
      frames = frames_of(context, packet)
      self.refused += frames is None
      yield from frames or ()


def decoded_index(
  path: str,
  decoder: Decoder,
  frames: Iterator[av.VideoFrame],
  seconds: Callable[[np.ndarray], np.ndarray],
) -> index.Index:
  """Decodes everything, keeping nothing but when each frame is shown.

  Args:
    path: for messages.
    decoder: that gives `frames`.
    frames: all, from the start; each carries its packet's number as `pts`.
    seconds: of `Packets`.

  Raises:
    DecodeError: nothing decodes, or too little.
  """
  numbers, view, at_start = [], None, 0
  for frame in frames:
    if view is None:
      view, at_start = View.of(frame), decoder.refused
    numbers.append(-1 if frame.pts is None else frame.pts)
  if view is None:
    raise DecodeError(path, "no frame of it decodes")
  check_size(path, view.width, view.height)
  # Those at the start lack a key frame before them: nothing is damaged.
  if decoder.refused - at_start > len(numbers):
    raise DecodeError(
      path, f"damaged: {decoder.refused} of its packets do not decode"
    )
  return index.Index(seconds(np.array(numbers)), view)
