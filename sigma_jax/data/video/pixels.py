"""The frames of one read, taken from the decoder as they come."""

from collections.abc import Callable, Iterable, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sigma_jax.data.video import transforms
from sigma_jax.data.video.containers import DecodeError
from sigma_jax.data.video.orientation import View

_MAX_PIXELS = 7680 * 4320  # of one frame: beyond 8K a header is not believed

# Width and height of the upright frames -> x, y, width and height of what is
# cut out of all of them, pixels.
BoxOf = Callable[[int, int], transforms.Box]


def boxes_of(
  box_of: BoxOf | Sequence[BoxOf], width: int, height: int
) -> list[transforms.Box]:
  """The box or boxes that `sources.Video.read` is asked for."""
  wanted = box_of if isinstance(box_of, Sequence) else (box_of,)
  return [tuple(one(width, height)) for one in wanted]


def arranged(
  frames: np.ndarray,
  order: np.ndarray,
  box_of: BoxOf | Sequence[BoxOf] | None,
) -> np.ndarray:
  """What `sources.Video.read` returns.

  Args:
    frames: [boxes, m, ...], distinct ones in increasing order; whole frames
      count as one box.
    order: [n], where each one asked for is among the m.
    box_of: as there.
  """
  if len(order) != frames.shape[1] or (np.diff(order) < 0).any():
    frames = frames[:, order]  # else in order already: not copied
  return frames if isinstance(box_of, Sequence) else frames[0]


class Pixels:
  """Collects frames: whole, or cut and scaled, upright in either case.

  Attributes:
    frames: uint8 [boxes, n, h, w, 3] once `pick` has had all n; None before the
      first. Whole frames count as one box.
  """

  def __init__(
    self,
    count: int,
    box_of: BoxOf | Sequence[BoxOf] | None,
    size: int,
    antialias: bool,
    view_of: Callable[[av.VideoFrame], View],
  ):
    """For `count` frames; box_of, size and antialias as `Clip.read`.

    `view_of` is given one of them and says how all of them are shown.
    """
    self.frames = None
    self._count, self._view_of, self._view = count, view_of, None
    self._box_of, self._size, self._antialias = box_of, size, antialias
    self._taken, self._scaler = set(), VideoReformatter()

  def pick(self, frames: Iterable[tuple[int, av.VideoFrame]], keys: list[int]):
    """Takes the frames with these keys, in their order, as far as they come."""
    places = {key: place for place, key in enumerate(keys)}
    for key, frame in frames:
      if key in places and key not in self._taken:
        self._put(places[key], frame)
        self._taken.add(key)
        if len(self._taken) == len(keys):
          return

  def lacking(self, keys: list[int]) -> list[int]:
    """Those of the keys that no frame has come for."""
    return [key for key in keys if key not in self._taken]

  def _put(self, place: int, frame: av.VideoFrame) -> None:
    if self._view is None:
      self._view = self._view_of(frame)
      self._convert = self._conversion()
    frame = fitted(frame, self._view, self._scaler)
    cuts = [self._view.show(cut) for cut in self._convert(frame)]
    if self.frames is None:
      shape = (len(cuts), self._count, *cuts[0].shape)
      self.frames = np.empty(shape, np.uint8)
    for cut, frames in zip(cuts, self.frames, strict=True):
      frames[place] = cut

  def _conversion(self) -> Callable:
    """A function from a frame to the pixels of each box, as stored."""
    if self._box_of is None:
      reformatter = VideoReformatter()
      return lambda frame: [transforms.to_rgb(frame, reformatter)]
    boxes = boxes_of(self._box_of, *self._view.shown_size)
    boxes = [self._view.stored_box(box) for box in boxes]
    return transforms.FrameCutter(boxes, self._size, self._antialias)


def fitted(
  frame: av.VideoFrame, view: View, scaler: VideoReformatter
) -> av.VideoFrame:
  """A frame in the view's size: scaled, where the video changes its size."""
  if (frame.width, frame.height) == (view.width, view.height):
    return frame
  return transforms.scaled(frame, view.width, view.height, scaler)


def check_size(path: str, width: int, height: int) -> None:
  """Raises DecodeError unless frames of this size, in pixels, are credible."""
  if not 0 < width * height <= _MAX_PIXELS:
    raise DecodeError(path, f"absurd size: {width} x {height} pixels")
