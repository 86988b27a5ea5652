"""Config files, configs/<name>.py, as settings; options changed by name."""

import ast
import difflib
import inspect
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.settings import given


def load(source: str | pathlib.Path) -> settings_lib.Settings:
  """The settings of a config file, `<name>.py` or `<name>.py:argument`.

  Raises:
    UserError: no such file, or it fails; one line that names it.
  """
  file, colon, argument = str(source).partition(":")
  if not pathlib.Path(file).is_file():
    known = [str(p) for p in pathlib.Path(file).parent.glob("*.py")]
    near = difflib.get_close_matches(file, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise errors.UserError(f"no such config file: {file}{hint}")
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
