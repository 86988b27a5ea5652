"""Reads what a run left in its workdir, whole, partial or damaged.

Everything here is cheap: no checkpoint, no clip and no TensorFlow.
"""

import dataclasses
import datetime
import functools
import json
import math
from typing import Any

import jax
from etils import epath

from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import frozen
from sigma_jax.methods import method as method_lib
from sigma_jax.train import judging, metrics
from sigma_jax.train import workdir as workdir_lib

Row = dict[str, Any]
BAD_FILES = "bad_files.jsonl"
_ROW_KEYS = frozenset(
  ("encoder", "label_set", "protocol", "num_test")
  + ("chance", "top1", "low", "high")
)


@dataclasses.dataclass(frozen=True)
class Run:
  """One workdir.

  Attributes:
    workdir: the folder.
    settings: from its config.json.
    metrics: lines of metrics.jsonl, ascending steps; [] if there is none.
    evaluations: lines of evaluations.jsonl, likewise.
    probe: content of probe/results.json, or None.
    probe_problem: why `probe` is None though the file is there, or "".
    bad_files: {"file", "reason"} of the run and of its probe, each file once.
    warnings: (step, text) of every sign of collapse in the metrics, and of a
      run that ended inside its warm-up.
    num_params: trained parameters.
    written: when the newest of these files was written, UTC.
  """

  workdir: epath.Path
  settings: settings_lib.Settings
  metrics: list[Row]
  evaluations: list[Row]
  probe: Row | None
  probe_problem: str
  bad_files: list[Row]
  warnings: list[tuple[int, str]]
  num_params: int
  written: datetime.datetime

  @property
  def last_step(self) -> int:
    """The newest step in the metrics; 0 without metrics."""
    return int(self.metrics[-1]["step"]) if self.metrics else 0

  @property
  def rates(self) -> list[float]:
    """Learning rates of the metrics, by step."""
    return _rates(self.metrics)

  @functools.cached_property
  def method(self) -> method_lib.Method:
    """The run's method; it knows the run's length, as far as that is known."""
    return _method(self.settings, self.metrics)

  @functools.cached_property
  def words(self) -> method_lib.Description:
    """What the method says of the run."""
    return self.method.describe()

  @property
  def num_prototypes(self) -> int | None:
    """k, or None where the method has no prototypes."""
    return self.words.num_prototypes


def load(workdir: str | epath.Path) -> Run:
  """Reads a run.

  Raises:
    ValueError: the folder has no config.json, or not one of a run; one line.
  """
  workdir = epath.Path(workdir)
  settings = workdir_lib.read_config(workdir)
  rows = [row for row in metrics.read(workdir) if "step" in row]
  probe, problem = _probe(workdir / "probe" / frozen.RESULTS)
  params = _method(settings, rows).abstract.params
  return Run(
    workdir,
    settings,
    rows,
    judging.read(workdir),
    probe,
    problem,
    _bad_files(workdir),
    _collapse_warnings(settings, rows) + _warmup_warnings(settings, rows),
    sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)),
    _written(workdir),
  )


def _method(settings, rows: list[Row]) -> method_lib.Method:
  total = settings.train.steps or (int(rows[-1]["step"]) if rows else 1)
  # Nothing here depends on how long an epoch is.
  return method_lib.of(settings, method_lib.Length(total, float(total)))


def _probe(path: epath.Path) -> tuple[Row | None, str]:
  """Content of results.json, or None and what is wrong with it."""
  if not path.is_file():
    return None, ""
  try:
    content = json.loads(path.read_text())
  except (ValueError, OSError) as error:
    return None, f"{path} cannot be read: {error}"
  rows = content.get("rows") if isinstance(content, dict) else None
  if not rows or not all(_ROW_KEYS.issubset(row) for row in rows):
    return None, f"{path} does not hold probe results"
  return content, ""


def _bad_files(workdir: epath.Path) -> list[Row]:
  found = {}
  for folder in (workdir, workdir / "probe"):
    path = folder / BAD_FILES
    if not path.is_file():
      continue
    for line in path.read_bytes().decode(errors="replace").splitlines():
      try:
        row = json.loads(line)
        found.setdefault(row["file"], row | {"reason": str(row["reason"])})
      except (ValueError, KeyError, TypeError):  # a line cut off by a kill
        continue
  return list(found.values())


def _collapse_warnings(settings, rows: list[Row]) -> list[tuple[int, str]]:
  """What the training loop warned of, found again from its metrics."""
  watch = metrics.Watch(_method(settings, rows).signs)
  found = []
  for row in rows:
    step = int(row["step"])
    found += [(step, text) for text in watch.check(step, row)]
  return found


def _rates(rows: list[Row]) -> list[float]:
  return [row["learning_rate"] for row in rows if "learning_rate" in row]


def rising(rates: list[float]) -> bool:
  """Whether the rate was highest in the end: a warm-up, and nothing else."""
  return len(rates) > 1 and rates[0] < rates[-1] == max(rates)


def _warmup_warnings(settings, rows: list[Row]) -> list[tuple[int, str]]:
  last = int(rows[-1]["step"]) if rows else 0
  done = 0 < settings.train.steps <= last
  if not done or not rising(_rates(rows)):
    return []
  text = (
    "the run ended inside its warm-up (optimizer.warmup_epochs="
    f"{settings.optimizer.warmup_epochs:g}): its learning rate never fell"
  )
  return [(last, text)]


def _written(workdir: epath.Path) -> datetime.datetime:
  files = (
    workdir / workdir_lib.CONFIG,
    workdir / metrics.JSONL,
    workdir / judging.EVALUATIONS,
    workdir / "probe" / frozen.RESULTS,
  )
  newest = max(file.stat().mtime for file in files if file.is_file())
  return datetime.datetime.fromtimestamp(newest, datetime.UTC)
