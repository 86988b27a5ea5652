"""Which runs an ablation consists of: its file, read and checked.

docs/ABLATIONS.md tells what stands in such a file.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sigma_jax import errors, nearest
from sigma_jax import settings as settings_lib
from sigma_jax.ablate import grid_file
from sigma_jax.settings import config_file, given
from sigma_jax.suite import plan
from sigma_jax.train import workdir as workdir_lib

# Options that the grid sets itself, and what sets them.
_OWN = {"seed": "seeds", "task": "judge", "init": "judge"}


class Run(NamedTuple):
  """One pre-training and its judging.

  name: of its folder, ROW/seedN. baseline: whether an untrained encoder is
  judged beside. key: changes with all that its results depend on.
  """

  name: str
  seed: int
  config: settings_lib.Settings
  baseline: bool
  key: str


class Row(NamedTuple):
  """A line of the table.

  group: the row of the file that it is of. values: option -> value, of those
  that the group varies. published: a name of `published.ABLATION`, or "". runs:
  one a seed; rows that come to the same run share it.
  """

  name: str
  title: str
  group: str
  values: dict[str, Any]
  published: str
  runs: tuple[Run, ...]


class Grid(NamedTuple):
  """An ablation.

  source: its file. judge, judge_set: config files that every run is judged by,
  and the options changed in them. reference: name of the row that others are
  compared with, or "".
  """

  source: str
  title: str
  seeds: tuple[int, ...]
  judge: tuple[str, ...]
  judge_set: dict[str, Any]
  reference: str
  rows: tuple[Row, ...]

  @property
  def runs(self) -> list[Run]:
    """Each once; all rows of a seed before the next seed."""
    found = {}
    for place in range(len(self.seeds)):
      found |= {row.runs[place].name: row.runs[place] for row in self.rows}
    return list(found.values())


def load(
  source: str, changes: Mapping[str, Any], judge_changes: Mapping[str, Any]
) -> Grid:
  """The grid of a file.

  Args:
    source: the file; it has a get_config().
    changes: options of all pre-trainings, over those of the file.
    judge_changes: options of what judges, likewise.

  Raises:
    UserError: one line: no such file, a key or an option that does not exist,
      an option without effect, or data that is not there.
  """
  content = grid_file.read(source)
  seeds = tuple(content["seeds"])
  if not seeds or len(set(seeds)) != len(seeds):
    raise errors.UserError(
      f"{source}: seeds must be one or more different numbers, got {seeds}"
    )
  if not content["judge"]:
    raise errors.UserError(
      f"{source}: judge is empty; it names config files, such as "
      "configs/eval/knn_toy.py"
    )
  common = config_file.flat(content["set"]) | dict(changes)
  judge_set = config_file.flat(content["judge_set"]) | dict(judge_changes)
  arms = grid_file.arms_of(content, source)
  reference = content["reference"]
  names = [arm.name for arm in arms]
  if reference and reference not in names:
    near = nearest.option(reference, names)
    hint = f"; did you mean {near!r}?" if near else f": {', '.join(names)}"
    raise errors.UserError(
      f"{source}: no row is the reference {reference!r}{hint}"
    )
  judges = _judges(content["judge"], judge_set, source)
  configs = [
    [_config(arm, common, seed, source) for seed in seeds] for arm in arms
  ]
  _check_common(common, [of_arm[0] for of_arm in configs], source)
  rows, made = [], {}
  order = sorted(range(len(arms)), key=lambda i: names[i] != reference)
  for place in order:  # the reference first: its runs are judged with more
    arm, runs = arms[place], []
    for seed, config in zip(seeds, configs[place], strict=True):
      baseline = arm.name == reference
      key = _key(config, judges, baseline)
      run = Run(f"{arm.name}/seed{seed}", seed, config, baseline, key)
      runs.append(made.setdefault(config.fingerprint(), run))
    rows.append((place, Row(*arm[:5], tuple(runs))))
  return Grid(
    source,
    content["title"] or pathlib.Path(source).stem,
    seeds,
    tuple(content["judge"]),
    judge_set,
    reference,
    tuple(row for _, row in sorted(rows, key=lambda pair: pair[0])),
  )


def _config(
  arm: grid_file.Arm, common: Mapping[str, Any], seed: int, source: str
) -> settings_lib.Settings:
  """The settings of one run of a row."""
  where = f"{source}, row {arm.name!r}"
  base = config_file.load(arm.config)
  for key in (*common, *arm.given):
    if key in _OWN:
      raise errors.UserError(f"{where}: {key} is set by the grid's {_OWN[key]}")
  if base.task != "pretrain":
    raise errors.UserError(f"{where}: {arm.config} is not of pre-training")
  own = {k: v for k, v in common.items() if k not in arm.given}
  try:
    made = config_file.changed(base, own | arm.given | {"seed": seed})
    given.check_read(made, arm.given)
  except ValueError as error:
    raise errors.UserError(f"{where}: {error}") from error
  paths = made.data.trained_on
  if not paths or not all(workdir_lib.path(path).exists() for path in paths):
    raise errors.UserError(
      f"{where}: data.train is not there: {', '.join(paths) or '(not set)'}"
    )
  return made


def _check_common(
  common: Mapping[str, Any],
  configs: Sequence[settings_lib.Settings],
  source: str,
) -> None:
  for key in common:
    reasons = [given.unread(config, key) for config in configs]
    if all(reasons):
      raise errors.UserError(
        f"{source}: set {key} would have no effect on any row: {reasons[0]}"
      )


def _judges(
  patterns: Sequence[str], changes: Mapping[str, Any], source: str
) -> list[settings_lib.Settings]:
  """The configs that judge, checked before anything is trained."""
  if "seed" in changes:
    raise errors.UserError(f"{source}: judge_set.seed is set by seeds")
  found = plan.configs(patterns, "", changes, False)
  if not found:
    raise errors.UserError(f"{source}: judge names no config file")
  for name, (_, config) in found.items():
    if reason := plan.missing(config):
      raise errors.UserError(f"{source}: judge {name}: {reason}")
  plan.check_changes(changes, [config for _, config in found.values()])
  return [config for _, config in found.values()]


def _key(
  config: settings_lib.Settings,
  judges: Sequence[settings_lib.Settings],
  baseline: bool,
) -> str:
  data = [plan.digest(path) for path in config.data.trained_on]
  parts = [config.fingerprint(), *data, baseline]
  for judge in judges:
    parts += [judge.fingerprint(), plan.inputs_digest(judge)]
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
