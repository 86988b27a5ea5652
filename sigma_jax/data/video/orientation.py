"""The picture that a player shows of a decoded frame: size, turn and mirror."""

import dataclasses
import struct

import av
import numpy as np
from av.sidedata.sidedata import Type

from sigma_jax.data.video.transforms import Box

# Quarter turns, counter-clockwise.
_QUARTERS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))


@dataclasses.dataclass(frozen=True)
class View:
  """How the frames of a file are shown; that of its first frame goes for all.

  Attributes:
    width: of frames as stored, pixels; others are scaled to it.
    height: of frames as stored.
    swapped: whether rows become columns, before anything is mirrored.
    mirrored: whether what is left is shown on the right.
    upside_down: whether what is above is shown below.
  """

  width: int
  height: int
  swapped: bool = False
  mirrored: bool = False
  upside_down: bool = False

  @classmethod
  def of(cls, frame: av.VideoFrame) -> "View":
    """As a frame and what it carries ask for, to the nearest quarter turn."""
    return cls(frame.width, frame.height, *_turn(_matrix(frame)))

  @property
  def shown_size(self) -> tuple[int, int]:
    """Width and height as shown."""
    size = self.width, self.height
    return size[::-1] if self.swapped else size

  def show(self, image: np.ndarray) -> np.ndarray:
    """Turns an image [h, w, c] as stored; a view of it."""
    if self.swapped:
      image = image.swapaxes(0, 1)
    return image[
      :: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1
    ]

  def stored_box(self, box: Box) -> Box:
    """Where a box of the shown picture lies in the stored one."""
    (width, height), (x, y, box_width, box_height) = self.shown_size, box
    if self.mirrored:
      x = width - x - box_width
    if self.upside_down:
      y = height - y - box_height
    if self.swapped:
      return y, x, box_height, box_width
    return x, y, box_width, box_height


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
  """a, b, c and d of x' = a x + c y, y' = b x + d y, downwards positive."""
  try:
    data = frame.side_data.get(Type.DISPLAYMATRIX)
  except ValueError:  # something beside it that PyAV has no name for
    return _QUARTERS[round(frame.rotation / 90) % 4]
  if data is None:
    return _QUARTERS[0]
  a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
  return a, b, c, d


def _turn(matrix: tuple[int, int, int, int]) -> tuple[bool, bool, bool]:
  a, b, c, d = matrix
  if abs(a) + abs(d) >= abs(b) + abs(c):
    return False, a < 0, d < 0
  return True, c < 0, b < 0
