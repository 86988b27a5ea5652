"""Windows over a long video: where they lie, and their pixels, in one pass."""

from collections.abc import Iterator

import numpy as np

from sigma_jax.data import crops, passes, sampling
from sigma_jax.settings import Data


def starts(times: np.ndarray, length: int, every: float) -> np.ndarray:
  """First frames of the windows.

  Window k begins with the frame that is shown nearest to k x `every` seconds,
  the earlier of two, so that frame times decide where the rate varies. All
  windows lie within the video. Where the last of them leaves frames behind it,
  one more is added that ends with the last frame, so that all frames lie in a
  window if `every` is no longer than one. No two windows are the same: a
  picture that is shown for long begins one of them. A video with no more
  frames than a window has one window, from its first frame on.

  Args:
    times: float64 [n], when frames are shown, increasing from 0, seconds.
    length: frames of a window.
    every: seconds, above 0.

  Returns:
    int64 [w], increasing, w at least 1.
  """
  last = len(times) - length
  if last <= 0:
    return np.zeros(1, np.int64)
  wanted = np.arange(int(times[last] / every) + 2) * every
  after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
  earlier = wanted - times[after - 1] <= times[after] - wanted
  nearest = np.unique(after - earlier)
  return np.union1d(nearest[nearest < last], [last])


class Windows:
  """The windows of one video, for one pass over it.

  Attributes:
    start, end: float64 [w], when the first and the last frame of each window
      are shown, seconds after the video's first frame.
  """

  def __init__(self, video: passes.Pass, data: Data, length: int, every: float):
    """Places the windows; a window is cut as if it were a video by itself.

    Args:
      video: opened.
      data: num_frames, stride, sampling, size and antialias are read.
      length: frames of a window.
      every: seconds from one window to the next.
    """
    self._video, self._data = video, data
    length = min(length, video.num_frames)
    first = starts(video.times, length, every)
    self._offsets = sampling.view_indices(data, length)
    self._first = first
    self.start, self.end = video.times[first], video.times[first + length - 1]

  def __len__(self) -> int:
    return len(self._first)

  def clips(self, first: int, batches: list[int]) -> Iterator[np.ndarray]:
    """The clips of windows from `first` on, some at a time.

    Frames that later windows share are kept, and no others.

    Args:
      first: a window.
      batches: how many windows come at a time; they add up to the rest.

    Yields:
      uint8 [b, t, size, size, 3], the pixels that `features` sees of a video of
      the window's frames.

    Raises:
      DecodeError: a frame cannot be had.
    """
    ends = first + np.cumsum(batches)
    places = [
      self._first[end - count : end, None] + self._offsets
      for end, count in zip(ends, batches, strict=True)
    ]
    # Frames come in order: those of later windows that lie between, as well.
    chosen = np.unique(np.concatenate(places))
    cuts = np.searchsorted(chosen, [wanted.max() for wanted in places], "right")
    groups = np.split(chosen, cuts[:-1])
    data, held = self._data, {}
    coming = self._video.read(
      [group for group in groups if len(group)],
      crops.square,
      data.size,
      data.antialias,
    )
    for wanted, group in zip(places, groups, strict=True):
      least = int(wanted.min())
      held = {place: frame for place, frame in held.items() if place >= least}
      if len(group):
        held |= zip(group.tolist(), next(coming), strict=True)
      yield np.stack(
        [[held[place] for place in row] for row in wanted.tolist()]
      )
