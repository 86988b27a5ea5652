"""Parts of videos: the windows that rows of a list confine their clips to.

A part is the frames of a sequential decode of the whole file with
start <= time < end: times as `Video.times` tells them, seconds after the file's
first frame, all rounded to microseconds; or frames start, ..., end - 1, counted
from 0. What lies behind the file's last frame is cut off. A part serves as a
video of its own: its frames and their times count from its first frame.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from sigma_jax.data.video.containers import DecodeError

MICROSECONDS = 1_000_000  # in a second
_TO_THE_END = np.iinfo(np.int64).max


class Window(NamedTuple):
  """start, end: in `unit`; end None: to the end. unit: seconds or frames."""

  start: float
  end: float | None
  unit: str

  def __str__(self) -> str:
    end = "the end" if self.end is None else f"{self.end:g}"
    return f"{self.unit} {self.start:g} to {end}"


@dataclasses.dataclass(frozen=True)
class Parts:
  """Windows of n rows.

  Attributes:
    starts: int64 [n], microseconds or frames, from 0 up.
    ends: int64 [n], likewise, above `starts`.
    unit: seconds or frames.
  """

  starts: np.ndarray
  ends: np.ndarray
  unit: str

  @classmethod
  def of_seconds(cls, starts: np.ndarray, ends: np.ndarray) -> "Parts":
    """From float64 [n] seconds; an end of infinity is the video's."""
    some = np.rint(np.nan_to_num(ends, posinf=0) * MICROSECONDS)
    ends = np.where(np.isinf(ends), _TO_THE_END, some.astype(np.int64))
    starts = np.rint(starts * MICROSECONDS).astype(np.int64)
    return cls(starts, ends, "seconds")

  @classmethod
  def of_frames(cls, starts: np.ndarray, counts: np.ndarray) -> "Parts":
    """From [n] first frames and numbers of frames; -1: to the end."""
    starts, counts = starts.astype(np.int64), counts.astype(np.int64)
    ends = np.where(counts < 0, _TO_THE_END, starts + counts)
    return cls(starts, ends, "frames")

  def __getitem__(self, row: int) -> Window:
    start, end = int(self.starts[row]), int(self.ends[row])
    scale = MICROSECONDS if self.unit == "seconds" else 1
    last = None if end == _TO_THE_END else end / scale
    return Window(start / scale, last, self.unit)

  @property
  def are_whole(self) -> bool:
    """Whether every row is all of its video."""
    return not self.starts.any() and bool((self.ends == _TO_THE_END).all())

  def take(self, rows: np.ndarray | slice) -> "Parts":
    """Those of some rows."""
    return Parts(self.starts[rows], self.ends[rows], self.unit)

  def tobytes(self) -> bytes:
    """Differs for other windows."""
    ends = self.starts.astype("<i8"), self.ends.astype("<i8")
    return self.unit.encode() + b"".join(one.tobytes() for one in ends)


def opened(video, path: str, window: Window):
  """The part of an opened video; closes it where there is no such part.

  Args:
    video: a `sources.Video`. It may have `all_times()`, float64 [num_frames],
      for windows in seconds; else `times` has to know all frames unread.
    path: for messages.
    window: what part.

  Returns:
    A `sources.Video` of the part's frames; `video` itself, if that is all.

  Raises:
    DecodeError: it begins behind the video's end, no frame lies in it, or
      nothing tells when frames are shown.
  """
  if not window.start and window.end is None:
    return video
  try:
    first, last = _bounds(video, path, window)
  except BaseException:
    video.__exit__(None, None, None)
    raise
  return Part(video, path, first, last)


def _bounds(video, path: str, window: Window) -> tuple[int, int]:
  """The part's first frame and the one behind its last."""
  count = video.num_frames
  if window.unit == "frames":
    first = int(window.start)
    if first >= count:
      raise DecodeError(
        path, f"its part begins with frame {first}, and it has {count} frames"
      )
    return first, count if window.end is None else min(int(window.end), count)
  times = getattr(video, "all_times", lambda: video.times(np.arange(count)))()
  if count > 1 and not times.any():
    raise DecodeError(
      path,
      "nothing tells when its frames are shown: say its part by start_frame "
      "and num_frames",
    )
  times = np.rint(times * MICROSECONDS).astype(np.int64)
  ends = [window.start, window.end if window.end is not None else np.inf]
  ends = np.rint(np.array(ends) * MICROSECONDS)
  first, last = np.searchsorted(times, ends, side="left").tolist()
  if first >= count:
    raise DecodeError(
      path,
      f"its part begins at {window.start:g} s, and its last frame is at "
      f"{times[-1] / MICROSECONDS:g} s",
    )
  if first >= last:
    raise DecodeError(path, f"no frame of it lies in {window}")
  return first, last


class Part:
  """Frames first, ..., last - 1 of a video as a `sources.Video`.

  Attributes:
    num_frames: of the part.
    whole: the video.
  """

  def __init__(self, video, path: str, first: int, last: int):
    self.whole, self._path, self._first = video, path, first
    self.num_frames = last - first

  def __enter__(self) -> "Part":
    self.whole.__enter__()
    return self

  def __exit__(self, *error) -> None:
    self.whole.__exit__(*error)

  def read(self, indices, *options) -> np.ndarray:
    """As `sources.Video.read`."""
    indices = np.asarray(indices)
    if indices.max() >= self.num_frames:
      raise DecodeError(
        self._path,
        f"frame {indices.max()} wanted of a part of {self.num_frames}",
      )
    if indices.min() < 0:
      raise ValueError(f"frame indices start at 0, got {indices.min()}")
    return self.whole.read(indices + self._first, *options)

  def times(self, indices) -> np.ndarray:
    """As `sources.Video.times`: seconds after the part's first frame."""
    found = self.whole.times(np.append(indices, 0) + self._first)
    return found[:-1] - found[-1]

  def frames(self):
    """As `decode.Clip.frames`, of the part."""
    return self.whole.frames(self._first, self._first + self.num_frames)

  @property
  def info(self):
    """As `decode.Clip.info`; its `num_frames` are the part's."""
    return dataclasses.replace(self.whole.info, num_frames=self.num_frames)
