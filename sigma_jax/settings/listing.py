"""All options as a page: read from the dataclasses and the comments at them."""

import ast
import dataclasses
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator

from sigma_jax import methods
from sigma_jax import settings as settings_lib
from sigma_jax.settings import method as method_lib

_HEAD = """\
# Options

Every option of a run, as `--config.KEY=VALUE` or in a config file as
`config.KEY = VALUE`. Defaults are those of `settings.default_config()`; a
config file of `configs/` has its own. An option that a run does not read is
refused, with the reason. A row without text shares that of the row above it.

This page is made by `python -m sigma_jax.settings > docs/OPTIONS.md`.
"""
_TABLE = "| option | default | |\n|---|---|---|\n"


def page() -> str:
  """The page, Markdown."""
  plain, sections = [], []
  for field in dataclasses.fields(settings_lib.Settings):
    if field.default is dataclasses.MISSING:
      sections.append((field.name, field.default_factory))
    else:
      plain.append(field.name)
  found = [_HEAD, "## Of the run\n", _rows(settings_lib.Settings, "", plain)]
  for name, section in sections:
    found += [f"## {name}\n", _text(section), _rows(section, f"{name}.")]
  for name, options in _methods():
    found += [f"## method of {name}\n", _text(options)]
    found.append(_rows(options, "method."))
  return "\n".join(found)


def _methods() -> Iterator[tuple[str, type]]:
  """(name, options) of every method that has some of its own."""
  for module in pkgutil.iter_modules(methods.__path__):
    try:
      options = method_lib.options_of(module.name)
    except ValueError:  # a module that methods share
      continue
    if options is not settings_lib.Method:
      yield module.name, options


def _text(section: type) -> str:
  return f"{inspect.cleandoc(section.__doc__)}\n"


def _rows(section: type, prefix: str, names: list[str] | None = None) -> str:
  """The table of a class's options."""
  comments = comments_of(section)
  rows = [
    f"| `{prefix}{field.name}` | `{_cell(_shown(field.default))}` "
    f"| {_cell(comments.get(field.name, ''))} |\n"
    for field in dataclasses.fields(section)
    if names is None or field.name in names
  ]
  return _TABLE + "".join(rows)


def _cell(text: str) -> str:
  return text.replace("|", "\\|")


def _shown(value) -> str:
  return repr(value).replace("'", '"')


def comments_of(section: type) -> dict[str, str]:
  """Option -> the comment above it and the one behind it, as one text.

  An option without a comment has that of the class it was first written in.
  """
  found = {}
  for base in reversed(section.__mro__):
    if dataclasses.is_dataclass(base):
      own = _own_comments(base)
      found |= {k: text for k, text in own.items() if text or k not in found}
  return found


def _own_comments(section: type) -> dict[str, str]:
  source = textwrap.dedent(inspect.getsource(section))
  lines = source.splitlines()
  found = {}
  for node in ast.parse(source).body[0].body:
    if not isinstance(node, ast.AnnAssign):
      continue
    first = node.lineno - 1
    above = []
    while lines[first - 1].strip().startswith("#"):
      first -= 1
      above.insert(0, lines[first])
    end = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    texts = [x.strip().removeprefix("#").strip() for x in (*above, end)]
    found[node.target.id] = " ".join(filter(None, texts))
  return found
