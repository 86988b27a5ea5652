"""Frames in grey, smaller than the clip's."""

import numpy as np

_SHARES = (0.299, 0.587, 0.114)  # of red, green and blue, as of JPEG's luma


def shrunk(frames: np.ndarray, factor: int) -> np.ndarray:
  """Means over squares of pixels.

  Args:
    frames: uint8 [..., h, w, 3], RGB.
    factor: pixels of a square's side, up to 16; divides h and w.

  Returns:
    uint8 [..., h / factor, w / factor], rounded once.
  """
  rows = sum(
    frames[..., i::factor, :, :].astype(np.uint16) for i in range(factor)
  )
  cells = sum(rows[..., i::factor, :] for i in range(factor))
  shares = np.array(_SHARES, np.float32) / factor**2
  return np.rint(cells.astype(np.float32) @ shares).astype(np.uint8)
