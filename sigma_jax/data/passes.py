"""Any row of a source read in one pass, from its beginning to its end.

A video file becomes a `reel.Reel`, whatever its length. What can be read from
any place (images, prepared records, parts of other rows) is opened anew for
each group of frames, so that no more than one group's is held.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from sigma_jax.data import sources
from sigma_jax.data.video import reel
from sigma_jax.data.video.pixels import BoxOf

_GROUP = 512  # frames whose times are asked for at once


class Pass(Protocol):
  """A video to be read once, in a `with`.

  Attributes:
    num_frames: as of `sources.Video`.
    times: float64 [num_frames], when each is shown: seconds after the first.
  """

  num_frames: int
  times: np.ndarray

  def read(
    self,
    groups: Sequence[np.ndarray],
    box_of: BoxOf,
    size: int,
    antialias: bool = True,
  ) -> Iterator[np.ndarray]:
    """As `reel.Reel.read`."""

  def __enter__(self) -> "Pass": ...

  def __exit__(self, *_) -> None: ...


def opened(source: sources.Source, row: int, timeout: float) -> Pass:
  """A row's video, for one pass.

  Args:
    source: n rows.
    row: which.
    timeout: seconds, as of `reel.Reel`; of others for each group.

  Raises:
    DecodeError: it cannot be read.
  """
  if isinstance(source, sources.Files) and (path := source.whole_video(row)):
    return reel.Reel(path, timeout)
  return _Anew(source, row, timeout)


class _Anew:
  """A row that is opened for each group of frames."""

  def __init__(self, source: sources.Source, row: int, timeout: float):
    self._source, self._row, self._timeout = source, row, timeout
    with self._open() as video:
      self.num_frames = video.num_frames
    times = []
    for first in range(0, self.num_frames, _GROUP):
      with self._open() as video:
        last = min(first + _GROUP, self.num_frames)
        times.append(video.times(np.arange(first, last)))
    self.times = np.concatenate(times)

  def __enter__(self) -> "_Anew":
    return self

  def __exit__(self, *_) -> None:
    pass

  def _open(self) -> sources.Video:
    return self._source.open(self._row, self._timeout)

  def read(self, groups, box_of, size, antialias=True) -> Iterator[np.ndarray]:
    """As `reel.Reel.read`."""
    for group in groups:
      with self._open() as video:
        yield video.read(group, box_of, size, antialias)
