"""What stands in the file of an ablation: names and kinds checked.

docs/ABLATIONS.md tells what stands in such a file.
"""

import itertools
import re
import runpy
from typing import Any, NamedTuple

import ml_collections

from sigma_jax import errors, nearest
from sigma_jax.evaluate import published
from sigma_jax.settings import config_file

_DEFAULTS: dict[str, Any] = {
  "title": "",
  "config": "",
  "judge": (),
  "seeds": (0,),
  "set": {},
  "judge_set": {},
  "reference": "",
  "rows": {},
}
_ROW_DEFAULTS: dict[str, Any] = {
  "title": "",
  "config": "",
  "set": {},
  "vary": {},
  "published": (),
}


class Arm(NamedTuple):
  """A row before its runs are made: its config, and the options given to it."""

  name: str
  title: str
  group: str
  values: dict[str, Any]
  published: str
  config: str
  given: dict[str, Any]


def read(source: str) -> dict[str, Any]:
  """The content of a grid's file over the defaults.

  Raises:
    UserError: there is none, it fails, or has what no grid has; one line.
  """
  file = config_file.find(source)
  try:
    found = runpy.run_path(file).get("get_config")
    if found is None:
      raise errors.UserError("it has no get_config()")
    content = found()
  except Exception as error:  # whatever a user's own Python can raise
    raise errors.UserError(f"grid {source}: {error}") from error
  if isinstance(content, ml_collections.ConfigDict):
    content = content.to_dict()
  if not isinstance(content, dict) or not content.get("rows"):
    raise errors.UserError(f"grid {source}: get_config() gives no rows")
  return _known(_DEFAULTS, content, source)


def _known(defaults: dict, values: Any, where: str) -> dict[str, Any]:
  """The values over the defaults; names and kinds checked."""
  if not isinstance(values, dict):
    raise errors.UserError(f"{where}: it is a section, got {values!r}")
  for name, value in values.items():
    if name not in defaults:
      near = nearest.option(name, list(defaults))
      hint = f"; did you mean {near!r}?" if near else ""
      raise errors.UserError(f"{where}: unknown key {name!r}{hint}")
    wanted = type(defaults[name])
    if name == "published" and isinstance(value, str):
      continue
    if not isinstance(value, (tuple, list) if wanted is tuple else wanted):
      raise errors.UserError(
        f"{where}: {name} must be a {wanted.__name__}, got {value!r}"
      )
  return defaults | values


def arms_of(content: dict[str, Any], source: str) -> list[Arm]:
  """The rows, those that vary options apart.

  Args:
    content: from `read`.
    source: its file, for messages.

  Raises:
    UserError: a row is not understood; one line.
  """
  arms: dict[str, Arm] = {}
  for group, values in content["rows"].items():
    where = f"{source}, row {group!r}"
    row = _known(_ROW_DEFAULTS, values, where)
    config = row["config"] or content["config"]
    if not config:
      raise errors.UserError(f"{where}: neither it nor the grid has a config")
    for arm in _varied(group, row, config, where):
      if arm.name in arms:
        raise errors.UserError(f"{source}: two rows are called {arm.name!r}")
      arms[arm.name] = arm
  return list(arms.values())


def _varied(group: str, row: dict, config: str, where: str) -> list[Arm]:
  """The product of what a row varies."""
  axes = config_file.flat(row["vary"])
  for key, values in axes.items():
    if not isinstance(values, (tuple, list)) or not values:
      raise errors.UserError(
        f"{where}: vary.{key} must be one or more values in a tuple, got "
        f"{values!r}"
      )
  combinations = list(itertools.product(*axes.values()))
  names = row["published"]
  if isinstance(names, str):
    names = (names,) * len(combinations)
  names = names or ("",) * len(combinations)
  if len(names) != len(combinations):
    raise errors.UserError(
      f"{where}: published has {len(names)} names for {len(combinations)} rows"
    )
  for name in names:
    if name and name not in published.ABLATION:
      raise errors.UserError(
        f"{where}: published {name!r} is none of "
        f"{', '.join(map(repr, published.ABLATION))}"
      )
  arms = []
  for combination, name in zip(combinations, names, strict=True):
    values = dict(zip(axes, combination, strict=True))
    parts = [group, *(_word(value) for value in combination)]
    told = [f"{key.split('.')[-1]} {v}" for key, v in values.items()]
    title = ", ".join([row["title"] or group, *told])
    given_ = config_file.flat(row["set"]) | values
    arms.append(
      Arm("-".join(parts), title, group, values, name, config, given_)
    )
    if not re.fullmatch(r"[\w.+-]+", arms[-1].name):
      raise errors.UserError(
        f"{where}: a row's name is that of a folder: letters, digits, _ . + -"
      )
  return arms


def _word(value: Any) -> str:
  text = (
    "x".join(map(str, value)) if isinstance(value, (tuple, list)) else value
  )
  return re.sub(r"[^\w.+-]+", "_", str(text))
