"""Which example, frames and crop a training step sees: pure functions.

Nothing here holds state. Every draw comes from a Philox generator keyed by the
run's seed and the example's number, counted over the whole run and all hosts,
so a run resumes exactly, on any number of hosts and workers.
"""

import enum
import math

import numpy as np

_UINT64 = (1 << 64) - 1
_ROUNDS = 8  # of the Feistel network below


class Purpose(enum.IntEnum):
  """Independent streams of one seed."""

  TRAIN = 0
  REPLACE = 1
  EVAL = 2
  SHUFFLE = 3


def generator(
  seed: int, number: int, purpose: Purpose, attempt: int = 0
) -> np.random.Generator:
  """A generator that is a pure function of its four arguments.

  Args:
    seed: of the run.
    number: what is drawn for, such as the example's number in the run.
    purpose: which of the seed's independent streams.
    attempt: 0, or the count of replacements for this number so far.
  """
  key = np.asarray([seed & _UINT64, number], np.uint64)
  # Drawing advances word 0 of the counter; the high words tell streams apart.
  counter = np.asarray([0, 0, attempt, purpose], np.uint64)
  return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _mix(x: np.ndarray) -> np.ndarray:
  """Scrambles uint64 values (splitmix64's finaliser, Steele et al. 2014)."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def shuffled_index(
  seed: int, epoch: int, position: np.ndarray, num_examples: int
) -> np.ndarray:
  """Places in an epoch's shuffled order, without ever holding the order.

  A Feistel network on Z_a x Z_b with a b >= n, walked until it lands below n
  (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002), permutes
  0..n-1 in O(1) memory: resuming in mid-epoch costs nothing.

  Args:
    seed: of the run.
    epoch: from 0; each has its own order.
    position: integers [...] in [0, n).
    num_examples: n.

  Returns:
    int64 [...], a permutation of 0..n-1 as position runs over 0..n-1.

  Raises:
    ValueError: a position is out of range.
  """
  position = np.asarray(position, np.int64)
  if position.size and not 0 <= position.min() <= position.max() < num_examples:
    raise ValueError(f"positions must lie in [0, {num_examples})")
  width = math.isqrt(num_examples - 1) + 1
  height = -(-num_examples // width)
  draws = generator(seed, epoch, Purpose.SHUFFLE)
  keys = draws.integers(0, _UINT64, _ROUNDS, np.uint64, endpoint=True)
  x = np.atleast_1d(position).astype(np.uint64)
  out = np.ones(x.shape, bool)  # values still to be placed below n
  while out.any():
    x[out] = _feistel(x[out], np.uint64(width), np.uint64(height), keys)
    out = x >= num_examples
  return x.astype(np.int64).reshape(position.shape)


def _feistel(x, width, height, keys):
  left, right = x // height, x % height
  for number, key in enumerate(keys):
    if number % 2:
      right = (right + _mix(left + key) % height) % height
    else:
      left = (left + _mix(right + key) % width) % width
  return left * height + right


def dense_clip_indices(
  num_frames: int, clip_frames: int, stride: int, rng: np.random.Generator
) -> np.ndarray:
  """Frames of a clip that starts uniformly wherever it fits the video.

  Args:
    num_frames: frames in the video, at least 1.
    clip_frames: t.
    stride: frames from one sampled frame to the next.
    rng: one draw is taken, whatever the length.

  Returns:
    int64 [t]. A video shorter than the clip starts at 0 and repeats the last
    frame that its stride reaches.
  """
  span = (clip_frames - 1) * stride + 1
  start = int(rng.integers(0, max(num_frames - span, 0) + 1))
  return _clip(start, num_frames, clip_frames, stride)


def centered_clip_indices(
  num_frames: int, clip_frames: int, stride: int
) -> np.ndarray:
  """As dense_clip_indices, from the middle of the video."""
  span = (clip_frames - 1) * stride + 1
  start = max(num_frames - span, 0) // 2
  return _clip(start, num_frames, clip_frames, stride)


def _clip(start, num_frames, clip_frames, stride):
  reachable = (num_frames - 1 - start) // stride
  steps = np.minimum(np.arange(clip_frames, dtype=np.int64), reachable)
  return start + steps * stride


# Corners, edges, centre and half-way points, in quarters of the free space.
_OFFSETS = (
  *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
  *((0, 2), (4, 2), (2, 4), (2, 0)),
  *((1, 1), (3, 1), (1, 3), (3, 3)),
)


def multiscale_crop_box(
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


def center_crop_box(width: int, height: int) -> tuple[int, int, int, int]:
  """The central square of the short side: x, y, width, height in pixels."""
  side = min(width, height)
  return (width - side) // 2, (height - side) // 2, side, side
