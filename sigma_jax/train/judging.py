"""Evaluations while a run goes on: when, what they gave, and the best of them.

How an encoder is scored the trainer does not know: it is given a function. An
evaluation comes after its step's checkpoint, if there is one, and changes
nothing of the state. One that was interrupted is made when the run goes on.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib
from sigma_jax.train import checkpoint, layout, metrics
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import workdir as workdir_lib

EVALUATIONS = "evaluations.jsonl"
BEST = "best.json"
BY = "knn"  # the score that says which checkpoint is the best

# An encoder's parameters, whole on every device -> named plain numbers, of
# which BY is one; all processes call it at once.
Score = Callable[[dict[str, Any]], dict[str, float]]


def read(workdir: str | os.PathLike) -> list[dict[str, float]]:
  """The evaluations of a run, by step; [] where there are none."""
  return metrics.read(workdir, EVALUATIONS)


def best(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
  """The evaluation of the highest score, of equal ones the first."""
  return max(rows, key=lambda row: row[BY], default=None)


class Judging:
  """Evaluates a run's encoder at its steps; all processes have one each."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    settings: settings_lib.Settings,
    mesh: jax.sharding.Mesh,
    score: Score | None,
    evaluated: tuple[str, str],
  ):
    """score: None where nothing is evaluated. evaluated: as of `Method`."""
    self._workdir, self._score = workdir_lib.path(workdir), score
    self._mesh, self._evaluated = mesh, evaluated
    self._every = settings.evaluate.every if score else 0
    self._keeps_best = settings.train.keep_best
    self._total = 0
    self._rows: list[dict[str, float]] = []

  @property
  def best_step(self) -> int | None:
    """Step whose checkpoint is to be kept; None: none."""
    found = best(self._rows) if self._keeps_best else None
    return int(found["step"]) if found else None

  def begin(self, start: int, total: int, saved: Sequence[int]) -> None:
    """Learns of the evaluations that an interrupted run has made.

    Lines of steps after `start`, which will be made again, are moved to
    evaluations_replaced.jsonl.

    Args:
      start: step that the run goes on after.
      total: its last step.
      saved: steps of its checkpoints: only one of them can be the best.
    """
    self._total = total
    if not self._every:
      return
    rows = read(self._workdir)
    if jax.process_index() == 0:
      metrics.split(self._workdir / EVALUATIONS, start)
    # All processes have what process 0 has read: they have to act alike.
    known = [row["step"] for row in rows if row["step"] <= start]
    count = int(_of_first([len(known)])[0])
    steps = [int(step) for step in _of_first((known + [-1] * count)[:count])]
    scores = {row["step"]: row[BY] for row in rows}
    found = _of_first([scores.get(step, 0.0) for step in steps])
    self._rows = [
      metrics.rounded({"step": step, BY: float(value)})
      for step, value in zip(steps, found, strict=True)
      if step in saved or step == start or not self._keeps_best
    ]
    self._note_best()

  def due(self, step: int) -> bool:
    """Whether this step is evaluated, and was not before."""
    at = step and (step % (self._every or 1) == 0 or step == self._total)
    made = any(row["step"] == step for row in self._rows)
    return bool(self._every and at and not made)

  def saves(self, step: int) -> bool:
    """Whether this step's checkpoint may turn out to be the best."""
    return self._keeps_best and self.due(step)

  def __call__(
    self,
    step: int,
    state: state_lib.TrainState,
    checkpoints: checkpoint.Checkpointer,
    writer: metrics.Writer,
    progress: metrics.Progress,
  ) -> None:
    """Evaluates the encoder; notes, draws and says what it gave.

    Args:
      step: steps done.
      state: after them.
      checkpoints, writer, progress: of the run.

    Raises:
      Preempted, RunStopped: of the scoring; the state is saved.
    """
    begun = time.perf_counter()
    try:
      scores = self._scores(state)
    except errors.RunStopped:
      if checkpoints.latest != step:
        checkpoints.save(step, layout.stack(state))
      checkpoints.wait()
      raise
    seconds = round(time.perf_counter() - begun, 3)
    row = metrics.rounded({"step": step, **scores, "seconds": seconds})
    self._rows.append(row)
    if jax.process_index() == 0:
      self._write(row)
    if self.best_step == step:
      checkpoints.wait()  # best.json names none that is not there yet
      self._note_best()
    drawn = {f"evaluation/{k}": v for k, v in row.items() if k != "step"}
    writer.draw(step, drawn)
    self._say(row)
    progress.leave_out(time.perf_counter() - begun)

  def _scores(self, state: state_lib.TrainState) -> dict[str, float]:
    """What process 0 has found, on all of them."""
    where, name = self._evaluated
    encoder = layout.stack({name: getattr(state, where)[name]})[name]
    found = self._score(mesh_lib.on_all_devices(encoder, self._mesh))
    values = _of_first(list(found.values()))
    return {
      name: int(value) if name.startswith("num_") else float(value)
      for name, value in zip(found, values, strict=True)
    }

  def _write(self, row: dict[str, float]) -> None:
    rows = [*read(self._workdir), row]
    text = "".join(json.dumps(each) + "\n" for each in rows)
    files.write_whole(self._workdir / EVALUATIONS, text)

  def _note_best(self) -> None:
    step = self.best_step
    if step is None or jax.process_index():
      return
    note = {"step": step, "by": BY, "score": best(self._rows)[BY]}
    files.write_whole(self._workdir / BEST, json.dumps(note) + "\n")

  def _say(self, row: dict[str, float]) -> None:
    top = best(self._rows)
    metrics.say(
      f"step {row['step']}/{self._total}  evaluation  {_shown(row)}  best kNN "
      f"{100 * top[BY]:.1f}% at step {top['step']}  ({row['seconds']:.1f} s)"
    )


def _shown(row: dict[str, float]) -> str:
  """Scores in words: each one's mean, and what it is of."""
  found = []
  for part, name in (
    ("knn", "kNN"),
    ("linear", "linear"),
    ("chance", "chance"),
  ):
    sets = [key for key in row if key.startswith(f"{part}_")]
    each = [f"{key[len(part) + 1 :]} {100 * row[key]:.1f}%" for key in sets]
    if part in row:
      tail = f" ({', '.join(each)})" if each and part != "chance" else ""
      found.append(f"{name} {100 * row[part]:.1f}%{tail}")
  return "  ".join(found)


def _of_first(values: Sequence[float]) -> np.ndarray:
  """Process 0's numbers, float32 [n], on all of them."""
  if jax.process_count() == 1:
    return np.asarray(values, np.float32)
  found = mesh_lib.gather(np.asarray(values, np.float32)[None])
  return np.asarray(found)[0]
