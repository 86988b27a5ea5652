"""Videos in windows, each with the number of repetitions in it.

Repetition counting as a regression: a model sees one window and predicts how
many repetitions are in it; a video's count is the sum over its windows. The
protocol is ours: of the published one (SEVERE, https://arxiv.org/abs/2203.14221)
we know data and metric, not the network that counts.
"""

import concurrent.futures
import os
from collections.abc import Sequence

import numpy as np

from sigma_jax import errors
from sigma_jax.data.annotations.repetitions import Repetitions
from sigma_jax.data.sources import Source, Video
from sigma_jax.data.video.containers import DecodeError

# Counts are multiples of 1 / _STEPS: float32 adds them without rounding up to
# 2^24 / _STEPS repetitions.
_STEPS = 4096
_MOST = (1 << 24) // _STEPS
_SLACK = 2  # frames that decoders differ by at the end of a video
_TIMEOUT = 60.0  # seconds to find out how many frames a video has


class Windows:
  """A Source whose rows are windows of m annotated videos, n in all.

  Windows of num_frames * stride frames lie side by side over the annotated part
  of a video (all of it, where none is annotated), so that each repetition is
  counted once. The last one may reach past the part, and where there are
  several phases the first one may begin before it: such frames repeat the
  part's last or first one and hold no repetitions.

  Phase p of P is the same grid, moved p / P of a window towards the start; the
  windows of one phase of a video add up to its count, exactly. Rows are in the
  order of videos, then phases, then time.

  Attributes:
    path: of the source.
    files: n names of videos.
    labels: int32 [n], those of the videos.
    counts: float32 [n], repetitions in each window. Within a repetition they
      grow evenly between its bounds; without bounds, over the whole part.
    videos: int32 [n], each window's row in the source.
    totals: float32 [m], annotated repetitions.
  """

  def __init__(
    self,
    source: Source,
    annotations: Sequence[Repetitions],
    num_frames: int,
    stride: int,
    phases: int = 1,
  ):
    """Finds the windows.

    A video without an annotated end is opened, as only that tells how many
    frames there are; no other one is.

    Args:
      source: m videos.
      annotations: m of them, in the same order (see repetitions.load).
      num_frames: of a clip.
      stride: between two frames of a clip; a window has num_frames * stride.
      phases: grids, at least 1; more than one are for training only.

    Raises:
      UserError: a part ends before it starts, there are more than 4096
        repetitions, or a video without an annotated end cannot be opened. One
        line with the video's name.
      ValueError: not m annotations, or a number below 1.
    """
    if len(annotations) != len(source):
      raise ValueError(
        f"{len(annotations)} annotations of {len(source)} videos"
      )
    if min(num_frames, stride, phases) < 1:
      raise ValueError(
        "num_frames, stride and phases must be at least 1, got "
        f"{num_frames}, {stride} and {phases}"
      )
    self._source, self._length = source, num_frames * stride
    self._parts = _parts(source, annotations)
    starts, counts = [], []
    for part, annotation in zip(self._parts, annotations, strict=True):
      grids = [
        _grid(part, self._length, (phase * self._length) // phases)
        for phase in range(phases)
      ]
      starts.append(np.concatenate([grid[:-1] for grid in grids]))
      counts += [np.diff(_count_before(annotation, part, g)) for g in grids]
    self._starts = np.concatenate(starts)
    self.counts = np.concatenate(counts).astype(np.float32)
    self.videos = np.repeat(
      np.arange(len(starts), dtype=np.int32), [len(s) for s in starts]
    )
    self.totals = np.array([a.count for a in annotations], np.float32)
    self.path = source.path
    self.files = tuple(source.files[video] for video in self.videos)
    self.labels = source.labels[self.videos]

  def __len__(self) -> int:
    return len(self.files)

  def open(self, row: int, timeout: float) -> Video:
    """As `sources.Source.open`; only frames of the window are decoded.

    Raises:
      DecodeError: also where the video is shorter than its annotation.
    """
    video = int(self.videos[row])
    start, part = int(self._starts[row]), self._parts[video]
    opened = self._source.open(video, timeout)
    if part[1] > opened.num_frames + _SLACK:
      with opened:
        raise DecodeError(
          self.files[row],
          f"annotated up to frame {part[1]}, but it has {opened.num_frames}",
        )
    frames = np.clip(np.arange(start, start + self._length), *part)
    # Frames of annotations count from 1.
    return _Window(opened, np.clip(frames, 1, opened.num_frames) - 1)

  def identify(self, row: int) -> list:
    """As `sources.Source.identify`: the video's, and which frames of it."""
    video = int(self.videos[row])
    frames = int(self._starts[row]), self._length, *self._parts[video]
    return [*self._source.identify(video), *frames]


class _Window:
  """Some frames of a video as a `sources.Video`."""

  def __init__(self, video: Video, frames: np.ndarray):
    self._video, self._frames = video, frames
    self.num_frames = len(frames)

  def __enter__(self) -> "_Window":
    self._video.__enter__()
    return self

  def __exit__(self, *error) -> None:
    self._video.__exit__(*error)

  def read(self, indices, *options) -> np.ndarray:
    """As `sources.Video.read`."""
    return self._video.read(self._frames[indices], *options)

  def times(self, indices) -> np.ndarray:
    """As `sources.Video.times`: of the whole video."""
    return self._video.times(self._frames[indices])


def _parts(
  source: Source, annotations: Sequence[Repetitions]
) -> list[tuple[int, int]]:
  """First and last frame, from 1, of what is annotated of each video."""

  def part(row: int) -> tuple[int, int]:
    annotation, file = annotations[row], source.files[row]
    if annotation.count > _MOST:
      raise errors.UserError(
        f"repetitions of {file}: {annotation.count}, more than {_MOST}"
      )
    first, last = max(annotation.start_frame, 1), annotation.end_frame
    last = last or _num_frames(source, row)
    if annotation.bounds:  # repetitions belong to the part, whatever it says
      first = min(first, annotation.bounds[0])
      last = max(last, annotation.bounds[-1])
    if first > last:
      raise errors.UserError(
        f"repetitions of {file}: they start in frame {first} and end in frame "
        f"{last}"
      )
    return first, last

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    return list(pool.map(part, range(len(source))))


def _num_frames(source: Source, row: int) -> int:
  try:
    with source.open(row, _TIMEOUT) as video:
      return video.num_frames
  except DecodeError as error:
    raise errors.UserError(
      f"cannot tell how many frames {source.files[row]} has "
      f"({error.reason}): annotate its end_frame, or take it off "
      f"{source.path}"
    ) from error


def _grid(part: tuple[int, int], length: int, shift: int) -> np.ndarray:
  """First frames of the windows that cover a part, then where they end."""
  first = part[0] - shift
  windows = -(-(part[1] + 1 - first) // length)
  return first + length * np.arange(windows + 1, dtype=np.int64)


def _count_before(
  annotation: Repetitions, part: tuple[int, int], frames: np.ndarray
) -> np.ndarray:
  """Repetitions before each frame of a grid, multiples of 1 / _STEPS."""
  if annotation.bounds:
    bounds, passed = annotation.bounds, np.arange(annotation.count + 1.0)
  else:
    bounds, passed = (part[0], part[1] + 1), [0.0, annotation.count]
  before = np.interp(frames, bounds, passed)
  before[0], before[-1] = 0, annotation.count  # also where bounds coincide
  return np.round(before * _STEPS) / _STEPS
