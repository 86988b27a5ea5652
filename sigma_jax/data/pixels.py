"""The frames of one read, taken from the decoder as they come."""

from collections.abc import Callable, Iterable

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sigma_jax.data import transforms
from sigma_jax.data.containers import DecodeError

_MAX_PIXELS = 7680 * 4320  # of one frame: beyond 8K a header is not believed


class Pixels:
  """Collects frames: whole, or cut and scaled, upright in either case.

  Attributes:
    frames: uint8 [n, h, w, 3] once `pick` has had all n; None before the first.
  """

  def __init__(
    self,
    path: str,
    count: int,
    box_of: Callable[[int, int], transforms.Box] | None,
    size: int,
  ):
    """For `count` frames; path for messages, the rest as `Clip.read`."""
    self.frames = None
    self._path, self._count = path, count
    self._box_of, self._size = box_of, size
    self._form, self._taken = None, set()

  def pick(self, frames: Iterable[tuple[int, av.VideoFrame]], keys: list[int]):
    """Takes the frames with these keys, in their order, as far as they come.

    Raises:
      DecodeError: one of them is damaged, or not of the first one's size.
    """
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
    if frame.is_corrupt:
      raise DecodeError(self._path, "a frame is damaged")
    # Counter-clockwise, as np.rot90.
    turns = round(frame.rotation / 90) % 4
    form = (frame.width, frame.height, turns)
    if self._form is None:
      check_size(self._path, frame.width, frame.height)
      self._form, self._convert = form, self._conversion(*form)
    elif form != self._form:
      raise DecodeError(self._path, "its frames change size")
    pixels = self._convert(frame)
    if turns:
      pixels = np.rot90(pixels, turns)
    if self.frames is None:
      self.frames = np.empty((self._count, *pixels.shape), np.uint8)
    self.frames[place] = pixels

  def _conversion(self, width: int, height: int, turns: int) -> Callable:
    """A function from a frame to its pixels, as stored."""
    if self._box_of is None:
      reformatter = VideoReformatter()
      return lambda frame: transforms.to_rgb(frame, reformatter)
    if turns % 2:
      width, height = height, width
    box = self._box_of(width, height)
    box = transforms.turned_box(box, turns, width, height)
    return transforms.FrameCutter(box, self._size)


def check_size(path: str, width: int, height: int) -> None:
  """Raises DecodeError unless frames of this size, in pixels, are credible."""
  if not 0 < width * height <= _MAX_PIXELS:
    raise DecodeError(path, f"absurd size: {width} x {height} pixels")
