"""Config files, configs/<name>.py, as settings; options changed by name.

The project's own are found by name from any folder, in a checkout as in an
installed package: k400_vitb, eval/knn, configs/k400_vitb.py:dino.
"""

import ast
import difflib
import glob
import inspect
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.settings import given


def home() -> pathlib.Path:
  """Where the project's own config files lie."""
  package = pathlib.Path(__file__).resolve().parents[1]
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


def find(source: str | pathlib.Path) -> str:
  """A config file as it can be opened, with the argument that it came with.

  Args:
    source: a file, or one of the project's own by name, with or without
      `configs/`, `eval/` and `.py`; `:argument` behind it is kept.

  Raises:
    UserError: there is none; one line with the nearest name.
  """
  name, colon, argument = str(source).partition(":")
  if pathlib.Path(name).is_file():
    return name + colon + argument
  if not pathlib.PurePath(name).is_absolute():
    own = name.removeprefix("./").removeprefix("configs/").removesuffix(".py")
    for folder in ("", "eval/"):
      file = home() / f"{folder}{own}.py"
      if own and file.is_file():
        return str(file) + colon + argument
  raise errors.UserError(f"no such config file: {name}{_near(name)}")


def _near(name: str) -> str:
  """The file, or the project's own, that was most likely meant."""
  path = pathlib.Path(name)
  known = {str(beside): beside for beside in path.parent.glob("*.py")}
  for file in home().rglob("*.py"):
    of_home = file.relative_to(home())
    known |= {f"configs/{of_home}": file, str(of_home.with_suffix("")): file}
  near = difflib.get_close_matches(name, known, 1)
  return f"; did you mean {near[0]}?" if near else ""


def matching(pattern: str) -> list[str]:
  """Files of a pattern, sorted: here, or else among the project's own."""
  found = sorted(glob.glob(pattern, recursive=True))
  if found or pathlib.PurePath(pattern).is_absolute():
    return found
  own = pattern.removeprefix("./").removeprefix("configs/")
  own = f"{glob.escape(str(home()))}/{own}"
  return sorted(glob.glob(own, recursive=True))


def load(source: str | pathlib.Path) -> settings_lib.Settings:
  """The settings of a config file, as `find` finds it.

  Raises:
    UserError: no such file, or it fails; one line that names it.
  """
  file, colon, argument = find(source).partition(":")
  try:
    found = runpy.run_path(file).get("get_config")
    if found is None:
      raise errors.UserError("it has no get_config()")
    if colon and not inspect.signature(found).parameters:
      raise errors.UserError("it takes nothing behind a colon")
    config = found(argument) if colon else found()
    return settings_lib.Settings.from_config(config)
  except Exception as error:  # whatever a user's own Python can raise
    raise errors.UserError(f"config file {source}: {error}") from error


def changed(
  config: settings_lib.Settings, changes: Mapping[str, Any]
) -> settings_lib.Settings:
  """A config with options set by name.

  Args:
    config: the one before.
    changes: dotted key -> value, or the value as text of a command line: 3,
      1e-4, true, (1, 2).

  Raises:
    ValueError: one line that names the key.
  """
  tree = config.to_dict()
  for key, value in changes.items():
    *sections, name = key.split(".")
    node = tree
    for section in sections:
      node = node.setdefault(section, {})
      if not isinstance(node, dict):
        raise errors.UserError(f"{key!r}: {section!r} is no section")
    text = isinstance(value, str) and not isinstance(node.get(name), str)
    node[name] = _value(value) if text else value
  given.settle(tree, changes)
  return settings_lib.Settings.from_config(tree)


def _value(text: str):
  """A text as the value that Python would make of it."""
  if text.lower() in ("true", "false"):
    return text.lower() == "true"
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text  # whose type is then refused by name


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested sections as dotted options."""
  found = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      found |= flat(value, f"{prefix}{name}.")
    else:
      found[prefix + name] = value
  return found
