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
import hashlib
import math
import pathlib

import numpy as np

from sigma_jax import cli, errors, files
from sigma_jax.inference import over_time_files
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


def extract(
  init: str,
  manifest: str,
  out: str,
  job: Job,
  root: str = "",
  list_form: str = "",
  tar_labels: str = "",
) -> None:
  """Writes the features of all readable videos.

  Args:
    init, manifest: as of `features.extract`.
    out: a folder, or a name that ends in .parquet.
    job: the rest.
    root, list_form, tar_labels: as of `features.extract`.

  Raises:
    UserError, ValueError, OSError: the input has to change.
    RunStopped: none of the videos could be read.
  """
  files.check_local(out, "--out")
  target = pathlib.Path(out)
  over_time_files.check_target(target)
  from sigma_jax.data import sources

  # Checked before the seconds that JAX takes to load.
  reading = Reading(list_form, tar_labels)
  rows = sources.load(manifest, root, classes=False, reading=reading)
  from sigma_jax.inference import encoder as encoder_lib

  encoder = encoder_lib.load(init)
  settings, length = job.applied(encoder.settings)
  store = over_time_files.Store(target, rows)
  store.open(_what(encoder, rows, settings, length, job))
  reader = _Reader(encoder, settings, length, job, rows, store)
  progress = cli.Progress("videos", len(rows))
  for row in range(len(rows)):
    reader.do(row)
    progress.bad = len(store.bad)
    progress.add()
  store.finish()
  missing = len(store.bad)
  print(
    f"{len(rows) - missing} videos over time, {encoder.dim} features a window, "
    f"in {out}"
    + (f"; {missing} unreadable, see {store.list}" if missing else ""),
    flush=True,
  )


def _what(encoder, rows, settings, length: int, job: Job) -> dict:
  """What has to be equal for another call's parts to be used."""
  from sigma_jax.data import sources

  names = "\n".join(sources.names(rows)).encode(errors="surrogateescape")
  return {
    "weights": encoder.fingerprint(),
    "files": hashlib.sha256(names).hexdigest(),
    "settings": settings.fingerprint(),
    "window": length,
    **dataclasses.asdict(job),
  }


class _Reader:
  """Does one video after the other."""

  def __init__(self, encoder, settings, length: int, job: Job, rows, store):
    self._encoder, self._settings, self._rows = encoder, settings, rows
    self._length, self._job, self._store = length, job, store

  def do(self, row: int) -> None:
    """Stores a video's features, or that it is bad; what is there is kept."""
    from sigma_jax.data import passes, sources
    from sigma_jax.data.over_time import Windows
    from sigma_jax.data.video.containers import DecodeError

    key = sources.key_of_rows(self._rows, row, row + 1)
    if self._store.has(row, key):
      return
    data = self._settings.data
    try:
      with passes.opened(self._rows, row, data.file_timeout) as video:
        if video.num_frames > 1 and not video.times[-1]:
          raise DecodeError("", "nothing tells when its frames are shown")
        windows = Windows(video, data, self._length, self._job.every)
        found = self._store.parts(row, key)
        features = self._features(windows, found, row, key)
    except DecodeError as error:
      self._store.reject(row, error.reason)
      return
    self._store.put(row, key, features, windows.start, windows.end)

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
    name = pathlib.PurePath(self._rows.files[row]).name
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
        self._store.put_part(row, number, key, found[-1])
    return np.concatenate(found)

  def _encoded(self, clips: np.ndarray) -> np.ndarray:
    """float32 [b, d]; by one of few compiled programs."""
    count = len(clips)
    size = min(1 << (count - 1).bit_length(), self._job.batch_size)
    padded = np.zeros((size, *clips.shape[1:]), np.uint8)
    padded[:count] = clips
    return np.asarray(self._encoder.encode(padded).pooled)[:count]
