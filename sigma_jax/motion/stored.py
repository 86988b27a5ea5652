"""Trajectories computed beforehand, as MME publishes them, on a clip's cells.

Numpy alone. They are of every frame and every 8 x 8 pixels of a whole video; a
clip takes those of its tubes' first frames, cut out like its pictures and
scaled to its own cells. The cut is at whole cells, up to 7 pixels beside that
of the pictures, and displacements stay those of the video: as published
(https://github.com/XinyuSun/MME at 17689a9).
"""

import numpy as np

CELL = 8  # pixels of the video


def on_clip(
  feat: np.ndarray,
  kind: np.ndarray,
  starts: np.ndarray,
  box: tuple[int, int, int, int],
  cells: int,
  steps: int,
) -> tuple[np.ndarray, np.ndarray]:
  """A clip's trajectories.

  Args:
    feat: int8 [2 L, T, h, w], all x displacements, then all y, L >= steps.
    kind: uint8 [T, h, w], 1 where a track stays inside.
    starts: integers [t], frames of the video that tubes begin with.
    box: x, y, width and height that the clip is cut from, pixels.
    cells: of the clip, a side.
    steps: l, the first of the L.

  Returns:
    Displacements, float32 [t, l, cells, cells, 2], x then y, pixels; and
    validity, float32 [t, cells, cells], below 1 near a track that leaves.
  """
  longest = len(feat) // 2
  x, y, width, height = (side // CELL for side in box)
  starts = np.minimum(starts, feat.shape[1] - 1)
  window = np.s_[..., y : y + height, x : x + width]
  both = feat.reshape(2, longest, *feat.shape[1:])[:, :steps, starts]
  moved = _scaled(both[window].astype(np.float32), cells)
  valid = _scaled(kind[starts][window].astype(np.float32), cells)
  return np.ascontiguousarray(moved.transpose(2, 1, 3, 4, 0)), valid


def _scaled(x: np.ndarray, cells: int) -> np.ndarray:
  """Bilinear, centres aligned, borders repeated: [..., h, w] to a square."""
  for axis in (-2, -1):
    old = x.shape[axis]
    centre = (np.arange(cells, dtype=np.float32) + 0.5) * (old / cells) - 0.5
    centre = centre.clip(0, old - 1).astype(np.float32)
    first = centre.astype(np.int64)
    share = (centre - first).astype(np.float32)
    if axis == -2:
      share = share[:, None]
    low, high = (
      x.take(place, axis) for place in (first, np.minimum(first + 1, old - 1))
    )
    x = low + share * (high - low)
  return x
