"""Where a run's numbers go: a JSONL file, TensorBoard, a progress line."""

import concurrent.futures
import contextlib
import json
import math
import os
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import logging

from sigma_jax import files, full_disk
from sigma_jax.train import workdir as workdir_lib

JSONL = "metrics.jsonl"


class Writer:
  """Writes scalars of process 0 to metrics.jsonl and TensorBoard.

  Lines of steps after `start_step`, which a killed run had written and the
  resumed one writes again, are moved to metrics_replaced.jsonl, so that a curve
  has each step once and nothing is lost.
  """

  def __init__(self, workdir: str | os.PathLike, start_step: int = 0):
    self._board = None
    self._file = None
    self._path = workdir_lib.path(workdir) / JSONL
    self._curves = workdir_lib.path(workdir) / "tensorboard"
    if jax.process_index() != 0:
      return
    path = self._path
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(split(path, start_step))
    self._file = _Whole(path, text) if files.is_remote(path) else path.open("a")
    self._board = _Board(self._curves)

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """One line of the file, one point of every curve."""
    if self._file is None:
      return
    row = {"step": step, **rounded(scalars)}
    with full_disk.naming(self._path):
      self._file.write(json.dumps(row) + "\n")
      self._file.flush()
    self.draw(step, scalars)

  def draw(self, step: int, scalars: dict[str, float]) -> None:
    """One point of every curve of TensorBoard, and no line of the file."""
    if self._board is not None:
      with full_disk.naming(self._curves):
        self._board.write_scalars(step, scalars)

  def close(self) -> None:
    """Flushes and closes both."""
    with contextlib.ExitStack() as stack:
      if self._board is not None:
        stack.enter_context(full_disk.naming(self._curves))
        stack.callback(self._board.close)
      if self._file is not None:
        stack.enter_context(full_disk.naming(self._path))
        stack.callback(self._file.close)


def split(path, start_step: int) -> list[str]:
  """The lines up to a step; later ones go to the file beside, first.

  Args:
    path: JSON lines with a `step`; later ones are moved to
      <its name>_replaced.jsonl.
    start_step: the last one kept.
  """
  if not path.exists():
    return []
  kept, later = [], []
  lines = path.read_text().splitlines(keepends=True)
  for text in lines:
    row = _row(text)
    if row is not None:
      (kept if row["step"] <= start_step else later).append(
        text if text.endswith("\n") else text + "\n"
      )
  if later:
    replaced = path.with_name(f"{path.stem}_replaced.jsonl")
    before = replaced.read_text() if replaced.exists() else ""
    files.write_whole(replaced, before + "".join(later))
  if kept != lines:
    files.write_whole(path, "".join(kept))
  return kept


def _row(text: str) -> dict[str, float] | None:
  """A line's content; None for one that a kill cut off."""
  try:
    return json.loads(text)
  except json.JSONDecodeError:
    return None


def read(
  workdir: str | os.PathLike, name: str = JSONL
) -> list[dict[str, float]]:
  """The complete lines of a run's metrics.jsonl; [] where there is none.

  Args:
    workdir: of the run.
    name: of another file like it.
  """
  path = workdir_lib.path(workdir) / name
  if not path.exists():
    return []
  rows = map(_row, path.read_text().splitlines())
  return [row for row in rows if row is not None]


class _Whole:
  """A text file in a bucket, which can be written but not appended to."""

  def __init__(self, path, text: str):
    self._path, self._text = path, text

  def write(self, text: str) -> None:
    self._text += text

  def flush(self) -> None:
    files.write_whole(self._path, self._text)

  def close(self) -> None:
    self.flush()


class Progress:
  """Prints step, loss, rate, clips/s, time left and the share of waiting."""

  def __init__(
    self,
    start_step: int,
    total_steps: int,
    batch_size: int,
    shown: tuple[str, ...] = (),
  ):
    """shown: metrics that a line has beside those of every method."""
    self._total, self._batch, self._shown = total_steps, batch_size, shown
    self._step, self._time, self._waited = start_step, time.perf_counter(), 0.0

  def line(
    self, step: int, scalars: dict[str, float], waited: float
  ) -> dict[str, float]:
    """Prints one line; returns clips_per_second and wait_share.

    Args:
      step: steps done.
      scalars: the step's metrics.
      waited: seconds spent waiting for data since the run's start.
    """
    now = time.perf_counter()
    elapsed = max(now - self._time, 1e-9)
    rate = (step - self._step) / elapsed
    speed = {
      "clips_per_second": rate * self._batch,
      "wait_share": (waited - self._waited) / elapsed,
    }
    self._step, self._time, self._waited = step, now, waited
    left = (self._total - step) / rate if rate else 0.0
    shown = "  ".join(
      f"{name} {scalars[name]:.3g}" for name in self._shown if name in scalars
    )
    say(
      f"step {step}/{self._total}  loss {scalars['loss']:.4f}  {shown}  "
      f"rate {scalars['learning_rate']:.2e}  "
      f"{speed['clips_per_second']:.1f} clips/s  "
      f"waiting for data {100 * speed['wait_share']:.0f}%  "
      f"ETA {_duration(left)}"
    )
    return speed

  def leave_out(self, seconds: float) -> None:
    """Does not count time in which nothing was trained."""
    self._time += seconds


class Watch:
  """Tells of the signs of a collapse, each once a run.

  It judges against the run's first figures: a resumed run has to show it the
  earlier lines first.
  """

  def __init__(self, signs: Callable[..., dict[str, str]]):
    """signs: as of `methods.method.Method`."""
    self._signs = signs
    self._first: dict[str, float] | None = None
    self._told: set[str] = set()

  def check(self, step: int, scalars: dict[str, float]) -> list[str]:
    """The warnings that this step gives rise to, for the first time."""
    if self._first is None:
      self._first = scalars
    found = self._signs(int(step), self._first, scalars)
    new = [text for sign, text in found.items() if sign not in self._told]
    self._told |= set(found)
    return new


def fetch(metrics: list[dict[str, jax.Array]]) -> list[dict[str, float]]:
  """Device scalars of several steps in one transfer."""
  values = jax.device_get(metrics)
  return [{k: float(np.asarray(v)) for k, v in row.items()} for row in values]


def say(text: str) -> None:
  """Prints a line, on process 0 only."""
  if jax.process_index() == 0:
    print(text, flush=True)


def rounded(scalars: dict[str, float]) -> dict[str, float]:
  """Numbers as files have them: seven digits, which is all of a float32."""
  return {
    k: v if isinstance(v, int) or not math.isfinite(v) else float(f"{v:.7g}")
    for k, v in scalars.items()
  }


def _duration(seconds: float) -> str:
  seconds = round(seconds)
  hours, minutes = divmod(seconds // 60, 60)
  if hours:
    return f"{hours}h{minutes:02d}m"
  return f"{minutes}m{seconds % 60:02d}s"


def _tensorboard(folder: os.PathLike):
  """clu's TensorBoard writer, or None where TensorFlow is not installed."""
  try:
    from clu import metric_writers
  except ImportError as error:
    logging.warning("no TensorBoard files are written: %s", error)
    return None
  return metric_writers.SummaryWriter(str(folder))


class _Board:
  """TensorBoard's curves, written by a thread, in order.

  Importing what writes them takes seconds of Python, in which the first steps
  run. What goes wrong is raised by the next call, at the latest by `close`.
  """

  def __init__(self, folder: os.PathLike):
    self._folder, self._writer, self._error = folder, None, None
    self._thread = concurrent.futures.ThreadPoolExecutor(1)

  def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    """One point of every curve."""
    self._raise()
    self._thread.submit(self._write, step, scalars)

  def close(self) -> None:
    """Waits for all that is to be written."""
    self._thread.shutdown()
    with contextlib.ExitStack() as stack:
      if self._writer is not None:
        stack.callback(self._writer.close)
      self._raise()

  def _write(self, step: int, scalars: dict[str, float]) -> None:
    if self._error is not None:
      return
    try:
      if self._writer is None:
        self._writer = _tensorboard(self._folder) or _Nothing()
      self._writer.write_scalars(step, scalars)
    except Exception as error:
      self._error = error

  def _raise(self) -> None:
    if self._error is not None:
      raise self._error


class _Nothing:
  """In place of curves where nothing can write them."""

  def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    """Writes nothing."""

  def close(self) -> None:
    """Does nothing."""
