"""Which part of the frames is cut out: boxes of x, y, width and height.

Pure functions, as in sampling.py; all frames of a clip share a box.
"""

import math

import numpy as np

from sigma_jax.data.sampling import spread

# Corners, edges, centre and half-way points, in quarters of the free space.
_OFFSETS = (
  *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
  *((0, 2), (4, 2), (2, 4), (2, 0)),
  *((1, 1), (3, 1), (1, 3), (3, 3)),
)
# Of a random resized crop.
_TRIES = 10
_LOG_RATIO = math.log(4 / 3)


def multiscale(
  width: int,
  height: int,
  size: int,
  scales: tuple[float, ...],
  rng: np.random.Generator,
) -> tuple[int, int, int, int]:
  """Multi-scale corner crop of the VideoMAE and SIGMA recipe.

  Each side is a scale of the short side; the two scales are at most one place
  apart in the list, and the box lies at one of 13 fixed places. A side within
  2 pixels of the model's input takes its size. From Wang et al., "Temporal
  Segment Networks", 2016, https://arxiv.org/abs/1608.00859, section 3.2.

  Args:
    width: of the video, pixels.
    height: of the video, pixels.
    size: side of the model's input, pixels.
    scales: parts of the short side, in (0, 1].
    rng: two draws are taken.

  Returns:
    x, y, width and height of the box, pixels, inside the video.
  """
  short = min(width, height)
  sides = [max(int(short * scale), 1) for scale in scales]
  sides = [size if abs(s - size) < 3 and size <= short else s for s in sides]
  pairs = [
    (w, h)
    for i, w in enumerate(sides)
    for j, h in enumerate(sides)
    if abs(i - j) <= 1
  ]
  w, h = pairs[rng.integers(len(pairs))]
  across, down = _OFFSETS[rng.integers(len(_OFFSETS))]
  return across * ((width - w) // 4), down * ((height - h) // 4), w, h


def random_resized(
  width: int,
  height: int,
  min_area: float,
  rng: np.random.Generator,
  max_area: float = 1.0,
) -> tuple[int, int, int, int]:
  """Random area and aspect ratio: the "Inception" crop.

  The area is uniform in [min_area, max_area] of the video's, the ratio of
  width to height log-uniform in [3/4, 4/3]. After ten boxes that do not fit,
  the largest central one whose ratio is allowed. From Szegedy et al., "Going
  deeper with convolutions", 2014, https://arxiv.org/abs/1409.4842, section 6,
  with torchvision's ten tries.

  Args:
    width: of the video, pixels.
    height: of the video, pixels.
    min_area: the smallest part of the video, in (0, 1].
    rng: two draws are taken for each try and two for the place.
    max_area: the largest part of the video.

  Returns:
    x, y, width and height of the box, pixels, inside the video.
  """
  for _ in range(_TRIES):
    area = width * height * rng.uniform(min_area, max_area)
    ratio = math.exp(rng.uniform(-_LOG_RATIO, _LOG_RATIO))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      x, y = rng.integers(width - w + 1), rng.integers(height - h + 1)
      return int(x), int(y), w, h
  widest = math.exp(_LOG_RATIO)
  w = min(width, round(height * widest))
  h = min(height, round(width * widest))
  return (width - w) // 2, (height - h) // 2, w, h


def square(
  width: int, height: int, view: int = 0, views: int = 1
) -> tuple[int, int, int, int]:
  """A square of the short side: x, y, width, height in pixels.

  A single view is central. Several are spread evenly over the long side:
  three are left, centre and right of a wide video, top, centre and bottom of
  a tall one.
  """
  side = min(width, height)
  x = spread(width - side, view, views)
  y = spread(height - side, view, views)
  return x, y, side, side
