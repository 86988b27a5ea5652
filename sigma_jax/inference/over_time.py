"""Features of long videos over time: `features --every SECONDS`.

A window of frames begins every SECONDS and gives one vector; what happens at a
video's end, `data.over_time.starts` says. A window has num_frames x stride
frames of the run, or --window. --out is a folder, which gets an .npz a video,
NUMBER_NAME.npz, or one .parquet with a row a window.

A video is read once, in memory that does not grow with its length. Each
--part-size windows are stored when they are done, so that a killed run goes on
within a video; it gives bitwise what an uninterrupted one gives.
"""

import dataclasses
import functools
import hashlib
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigma_jax import cli, compile_cache, errors, files
from sigma_jax.inference import over_time_files
from sigma_jax.pieces import pieces
from sigma_jax.settings.data import Reading

_LONG = 8  # batches, from which on a video has a progress line of its own


@dataclasses.dataclass(frozen=True)
class Job:
  """What is asked for.

  Attributes:
    every: seconds from one window to the next.
    window: frames of a window; 0: num_frames x stride.
    stride: frames between two frames of a clip; 0: the run's.
    batch_size: windows a step.
    part_size: windows after which a part is stored.
  """

  every: float
  window: int = 0
  stride: int = 0
  batch_size: int = 16
  part_size: int = 1024

  def __post_init__(self):
    if not 1e-3 <= self.every < math.inf:
      raise errors.UserError(
        f"--every is in seconds, from 0.001 up; got {self.every:g}"
      )
    if min(self.batch_size, self.part_size) <= 0:
      raise errors.UserError("--batch-size and --part-size must be positive")
    if min(self.window, self.stride) < 0:
      raise errors.UserError("--window and --stride must not be negative")

  def applied(self, run):
    """The settings of a run with this job's stride; frames of a window.

    Raises:
      UserError: the window is not so many equal steps.
    """
    data, frames = run.data, run.data.num_frames
    stride = self.stride or data.stride
    if self.window and data.sampling == "dense":
      if self.stride:
        raise errors.UserError(
          "--window sets the stride: leave one of them out"
        )
      if self.window % frames:
        below = max(self.window // frames, 1) * frames
        raise errors.UserError(
          f"--window={self.window} is no multiple of the {frames} frames of a "
          f"clip, such as {below} and {below + frames}"
        )
      stride = self.window // frames
    data = dataclasses.replace(data, stride=stride)
    length = self.window or frames * stride
    return dataclasses.replace(run, data=data), length


class _Given(NamedTuple):
  """What was asked for: all that a process needs to do a video."""

  init: str
  manifest: str
  root: str
  reading: Reading
  out: str
  job: Job


class _Video(NamedTuple):
  given: _Given
  row: int


def extract(
  init: str,
  manifest: str,
  out: str,
  job: Job,
  root: str = "",
  list_form: str = "",
  tar_labels: str = "",
  how: pieces.How = pieces.HERE,
) -> None:
  """Writes the features of all readable videos.

  Args:
    init, manifest: as of `features.extract`.
    out: a folder, or a name that ends in .parquet.
    job: the rest.
    root, list_form, tar_labels: as of `features.extract`.
    how: which videos this call does, and where; the last of several ends it.

  Raises:
    UserError, ValueError, OSError: the input has to change.
    RunStopped: none of the videos could be read.
  """
  files.check_local(out, "--out")
  over_time_files.check_target(pathlib.Path(out))
  reading = Reading(list_form, tar_labels)
  given = _Given(init, manifest, root, reading, out, job)
  _listed(given)  # checked before the seconds that JAX takes to load
  _opened.cache_clear()
  reader = _opened(given)
  rows, store = reader.rows, reader.store
  store.open(_what(reader, job))
  key = functools.cache(functools.partial(_key, rows))
  videos = [
    pieces.Piece(f"video {row}", _Video(given, row)) for row in range(len(rows))
  ]
  work = pieces.Work(
    "videos",
    videos,
    _do,
    lambda: {
      piece.name
      for piece in videos
      if store.is_there(piece.job.row, key(piece.job.row))
    },
    # What could not be read is tried again.
    left=lambda piece: piece.job.row in store.bad(),
  )
  if not pieces.run(work, how):
    return
  bad = len(store.bad())
  store.finish(keep=bool(how.only))  # other parts may be repeated
  print(
    f"{len(rows) - bad} videos over time, {reader.dim} features a window, "
    f"in {out}" + (f"; {bad} unreadable, see {store.list}" if bad else ""),
    flush=True,
  )


def _listed(given: _Given):
  from sigma_jax.data import sources

  return sources.load(
    given.manifest, given.root, classes=False, reading=given.reading
  )


@functools.lru_cache(1)
def _opened(given: _Given) -> "_Reader":
  """Encoder and list: once a process."""
  from sigma_jax.inference import encoder as encoder_lib

  rows = _listed(given)
  store = over_time_files.Store(pathlib.Path(given.out), rows)
  return _Reader(encoder_lib.load(given.init), given.job, rows, store)


def _do(videos: Sequence[_Video], workers: int, tally: pieces.Tally) -> None:
  """Does some videos; in this process alone."""
  del workers  # threads decode, and JAX takes all cores that it is given
  compile_cache.use()
  for video in videos:
    good = _opened(video.given).do(video.row)
    tally.add(1, () if good else [video.row])


def _key(rows, row: int) -> str:
  from sigma_jax.data import sources

  return sources.key_of_rows(rows, row, row + 1)


def _what(reader: "_Reader", job: Job) -> dict:
  """What has to be equal for another call's parts to be used."""
  from sigma_jax.data import sources

  names = "\n".join(sources.names(reader.rows))
  digest = hashlib.sha256(names.encode(errors="surrogateescape"))
  return {
    "weights": reader.fingerprint(),
    "files": digest.hexdigest(),
    "settings": reader.settings.fingerprint(),
    "window": reader.length,
    **dataclasses.asdict(job),
  }


class _Reader:
  """Does one video after the other."""

  def __init__(self, encoder, job: Job, rows, store):
    self._encoder, self._job = encoder, job
    self.rows, self.store, self.dim = rows, store, encoder.dim
    self.settings, self.length = job.applied(encoder.settings)
    self.fingerprint = encoder.fingerprint

  def do(self, row: int) -> bool:
    """Stores a video's features, or that it is bad; what is there is kept.

    Returns:
      Whether it can be read.
    """
    from sigma_jax.data import passes
    from sigma_jax.data.over_time import Windows
    from sigma_jax.data.video.containers import DecodeError

    key = _key(self.rows, row)
    if self.store.has(row, key):
      return True
    data = self.settings.data
    try:
      with passes.opened(self.rows, row, data.file_timeout) as video:
        if video.num_frames > 1 and not video.times[-1]:
          raise DecodeError("", "nothing tells when its frames are shown")
        windows = Windows(video, data, self.length, self._job.every)
        found = self.store.parts(row, key)
        features = self._features(windows, found, row, key)
    except DecodeError as error:
      self.store.reject(row, key, error.reason)
      return False
    self.store.put(row, key, features, windows.start, windows.end)
    return True

  def _features(self, windows, found: list, row: int, key: str) -> np.ndarray:
    """float32 [w, d], of which the first parts may be there."""
    size, step = self._job.part_size, self._job.batch_size
    done = sum(map(len, found))
    left = [
      min(size, len(windows) - first)
      for first in range(done, len(windows), size)
    ]
    # A batch lies within a part: it does not depend on where a run was cut.
    batches = [
      min(step, part - first) for part in left for first in range(0, part, step)
    ]
    clips = windows.clips(done, batches) if left else iter(())
    long = len(windows) > _LONG * step
    name = pathlib.PurePath(self.rows.files[row]).name
    progress = cli.Progress(f"windows of {name}", len(windows))
    progress.skip(done)
    for number, part in enumerate(left, len(found)):
      pooled = []
      for _ in range(0, part, step):
        pooled.append(self._encoded(next(clips)))
        if long:
          progress.add(len(pooled[-1]))
      found.append(np.concatenate(pooled))
      if len(windows) > size:  # or the video's own file comes at once
        self.store.put_part(row, number, key, found[-1])
    return np.concatenate(found)

  def _encoded(self, clips: np.ndarray) -> np.ndarray:
    """float32 [b, d]; by one of few compiled programs."""
    count = len(clips)
    size = min(1 << (count - 1).bit_length(), self._job.batch_size)
    padded = np.zeros((size, *clips.shape[1:]), np.uint8)
    padded[:count] = clips
    return np.asarray(self._encoder.encode(padded).pooled)[:count]
