"""Which example, frames and crop a training step sees: pure functions.

Nothing here holds state. Every draw comes from a Philox generator keyed by the
run's seed and the example's number, counted over the whole run and all hosts,
so a run resumes exactly, on any number of hosts and workers.
"""

import enum
import functools
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
  VIEWS = 4


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


def _mix(x):
  """Scrambles 64-bit values (splitmix64's finaliser, Steele et al. 2014)."""
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _UINT64
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _UINT64
  return x ^ (x >> 31)


def shuffled_index(
  seed: int,
  epoch: int,
  position: int | np.ndarray,
  num_examples: int,
  stream: int = 0,
) -> int | np.ndarray:
  """Places in an epoch's shuffled order, without ever holding the order.

  A Feistel network on Z_a x Z_b with a b >= n, walked until it lands below n
  (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002), permutes
  0..n-1 in O(1) memory: resuming in mid-epoch costs nothing.

  Args:
    seed: of the run.
    epoch: from 0; each has its own order.
    position: one or integers [...] in [0, n).
    num_examples: n.
    stream: each has orders of its own.

  Returns:
    An int or int64 [...], a permutation of 0..n-1 as position runs over
    0..n-1.

  Raises:
    ValueError: a position is out of range.
  """
  places = np.asarray(position, np.int64)
  if places.size and not 0 <= places.min() <= places.max() < num_examples:
    raise ValueError(f"positions must lie in [0, {num_examples})")
  width = math.isqrt(num_examples - 1) + 1
  sides = width, -(-num_examples // width)
  keys = _shuffle_keys(seed, epoch, stream)
  if not places.ndim:  # an eighth of the time that arrays of one take
    one = _feistel(int(places), *sides, keys)
    while one >= num_examples:
      one = _feistel(one, *sides, keys)
    return one
  x = places.astype(np.uint64)
  out = np.ones(x.shape, bool)  # values still to be placed below n
  while out.any():
    x[out] = _feistel(x[out], *sides, keys)
    out = x >= num_examples
  return x.astype(np.int64)


@functools.lru_cache(maxsize=256)
def _shuffle_keys(seed: int, epoch: int, stream: int) -> tuple[int, ...]:
  draws = generator(seed, epoch, Purpose.SHUFFLE, stream)
  keys = draws.integers(0, _UINT64, _ROUNDS, np.uint64, endpoint=True)
  return tuple(keys.tolist())


def _feistel(x, width, height, keys):
  """One pass over an int or a uint64 array."""
  left, right = x // height, x % height
  for number, key in enumerate(keys):
    if number % 2:
      right = (right + _mix((left + key) & _UINT64) % height) % height
    else:
      left = (left + _mix((right + key) & _UINT64) % width) % width
  return left * height + right


def spread(free: int, view: int, views: int) -> int:
  """Start of one of several windows, evenly spaced; of one, the middle.

  Args:
    free: the last possible start, from 0.
    view: which, in [0, views).
    views: how many.
  """
  return free // 2 if views == 1 else free * view // (views - 1)


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


def dense_view_indices(
  num_frames: int, clip_frames: int, stride: int, view: int = 0, views: int = 1
) -> np.ndarray:
  """As dense_clip_indices, at one of evenly spaced starts.

  The first view starts with the video and the last one ends with it, as
  VideoMAE tests; a single view lies in the middle.
  """
  span = (clip_frames - 1) * stride + 1
  start = spread(max(num_frames - span, 0), view, views)
  return _clip(start, num_frames, clip_frames, stride)


def view_indices(
  data, num_frames: int, view: int = 0, views: int = 1
) -> np.ndarray:
  """Frames of a test's clip: int64 [t].

  Args:
    data: `settings.Data`: sampling, num_frames and stride are read.
    num_frames: of the video.
    view, views: which of so many, in time.
  """
  if data.sampling == "segments":
    return segment_view_indices(num_frames, data.num_frames, view, views)
  return dense_view_indices(
    num_frames, data.num_frames, data.stride, view, views
  )


def _clip(start, num_frames, clip_frames, stride):
  reachable = (num_frames - 1 - start) // stride
  steps = np.minimum(np.arange(clip_frames, dtype=np.int64), reachable)
  return start + steps * stride


def segment_clip_indices(
  num_frames: int, clip_frames: int, rng: np.random.Generator
) -> np.ndarray:
  """A random frame from each of t equal segments of the video.

  From Wang et al., "Temporal Segment Networks", 2016,
  https://arxiv.org/abs/1608.00859, section 3.1. Segments may end within a
  frame, so that every frame is as likely as any other, those at the end of
  the video included. Of fewer than t frames some come twice, in order from
  first to last; TSN's own code would repeat the first.

  Args:
    num_frames: frames in the video, at least 1.
    clip_frames: t.
    rng: t draws are taken.

  Returns:
    int64 [t], never decreasing.
  """
  return _segments(num_frames, clip_frames, rng.random(clip_frames))


def segment_view_indices(
  num_frames: int, clip_frames: int, view: int = 0, views: int = 1
) -> np.ndarray:
  """As segment_clip_indices, the same place in each segment.

  A single view takes each segment's middle. Of several, view j takes the
  place j / views: two are its start and its middle, as VideoMAE tests on
  Something-Something.
  """
  place = 0.5 if views == 1 else view / views
  return _segments(num_frames, clip_frames, np.full(clip_frames, place))


def _segments(num_frames, clip_frames, places):
  at = (np.arange(clip_frames) + places) * (num_frames / clip_frames)
  return np.minimum(at.astype(np.int64), num_frames - 1)
