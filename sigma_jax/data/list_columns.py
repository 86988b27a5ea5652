"""Lines of a list with several numbers behind the path, one after another."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sigma_jax import errors
from sigma_jax.data import list_forms, list_labels
from sigma_jax.data.list_labels import INTEGER

_SUFFIXES = (
  *("mp4", "webm", "mkv", "avi", "mov", "m4v", "mpg", "mpeg", "ts", "mts"),
  *("m2ts", "flv", "wmv", "3gp", "ogv", "gif", "jpg", "jpeg", "png", "bmp"),
  "webp",
)
_SUFFIX = rf"\.(?:{'|'.join(_SUFFIXES)})"
ENDS_AS_MEDIA = re.compile(rf"{_SUFFIX}$", re.I)
# A path up to the last such suffix that a separator follows, and the rest.
MEDIA = re.compile(rf"(.*{_SUFFIX})(?:\s*[\t,]\s*|\s+)(.*)", re.I | re.S)
FIRST_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?:(\s*[\t,]\s*|\s+)(.*))?', re.S)
_SEPARATOR = re.compile(r"\s*[\t,]\s*|\s+")
_NUMBER_FIRST = re.compile(r"([0-9]+)(?:\s*[\t,]\s*|\s+)(.*\S)", re.S)
_MOST = 3  # numbers behind a path

_EARLIER = (
  "those before are; or say by --config.data.list_form=path,label that all but "
  "the last are part of the path"
)

# Paths, labels, names, parts and the form, as of `list_lines.Lines`.
_Found = tuple[list[str], np.ndarray, tuple[str, ...], object, str]


def count(line: str) -> int:
  """Whole numbers behind the path of a line, 0 to 3."""
  for number in range(_MOST, 0, -1):
    if _split(line, number):
      return number
  return 0


def read(
  records: Iterator[tuple[int, str]], where: str, classes: bool, form: str
) -> _Found | None:
  """Rows of lines that all have as many columns.

  Args:
    records: numbers of lines, from 1, and lines without blanks around.
    where: such as "manifest train.csv", for messages.
    classes: whether every row has to have a label.
    form: one of `LIST_FORMS` with two numbers or more, whose label may be a
      name; empty: told from the lines, and labels are numbers.

  Returns:
    What `list_lines.Lines` is made of; None: lines differ, and nothing but
    their paths is wanted.

  Raises:
    UserError: a line is none of this form, or two forms fit.
  """
  paths, rows, lines = [], [], []
  width = list_forms.NUMBERS[form] if form else 0
  named = bool(form) and list_forms.has_label(form)
  for number, line in records:
    width = width or count(line)
    found = _split(line, width, named)
    if found is None:
      if not form and not classes:
        return None
      raise errors.UserError(
        f"{where}, line {number}: {line!r} is not a path with {width} columns "
        "behind it, as " + (f"data.list_form={form} says" if form else _EARLIER)
      )
    paths.append(found[0])
    rows.append(found[1:])
    lines.append((f"{where}, line {number}", line))
  return _read(paths, list(zip(*rows, strict=True)), lines, classes, form)


def _read(paths, fields, lines, classes: bool, form: str) -> _Found:
  """From columns of texts, and each row's place and line."""
  named = bool(form) and list_forms.has_label(form)
  columns = [list(map(int, column)) for column in fields[: len(fields) - named]]
  if named:  # 0 in the label's place: it is looked at by itself
    columns.append([0] * len(paths))
  columns = np.array(columns, np.int64)
  if not form:
    form = _told(columns, paths, lines, classes)
  elif (row := list_forms.wrong_row(columns, form, classes)) is not None:
    _refuse(form, *lines[row])
  parts = list_forms.parts_of(columns, form)
  if not named:
    labels = list_forms.labels_of(columns, form)
    return paths, labels, (), parts, form
  codes: dict[str | None, int] = {}
  of_row = []
  for label, (place, line) in zip(fields[-1], lines, strict=True):
    if classes and label not in codes:
      list_labels.check(label, next(iter(codes), None), line, place)
    of_row.append(codes.setdefault(label, len(codes)))
  labels, names = list_labels.numbered(codes, np.array(of_row, np.int32))
  return paths, labels, names, parts, form


def _told(columns: np.ndarray, paths, lines, classes: bool) -> str:
  """The one form that all rows fit."""
  forms = list_forms.fitting(columns, classes)
  if not forms:
    if len(columns) == 2 and list_forms.fitting(columns, False):
      place, line = lines[0]
      raise errors.UserError(
        f"{place}: {line!r} has no label: it is a line of a pre-training list "
        "(path, first frame, number of frames, -1: to the end); write 'path "
        "label' with a class index from 0 up"
      )
    form = list_forms.FRAMES if len(columns) == 2 else list_forms.START_LABEL
    _refuse(form, *lines[list_forms.wrong_row(columns, form, classes)])
  readings = tuple(forms)
  if len(forms) == 1 and may_be_longer(paths, columns):
    readings = (list_forms.LABEL, *forms)
  if len(readings) > 1:
    list_forms.refuse_both(readings, columns[:, 0], paths[0], lines[0][0])
  return forms[0]


def _refuse(form: str, place: str, line: str) -> None:
  needs = {
    list_forms.FRAMES: "a number of frames from 1 up and a label from 0 up "
    "(path frames label), or for pre-training a first frame from 0 up and a "
    "number of frames from 1 up, or -1 (path start frames)",
    list_forms.START: "a first frame from 0 up and a number of frames from 1 "
    "up, or -1: to the end (path start frames)",
    list_forms.START_LABEL: "a first frame from 0 up, a number of frames from "
    "1 up, or -1: to the end, and a label from 0 up (path start frames label)",
  }
  raise errors.UserError(f"{place}: {line!r} needs {needs[form]}")


def may_be_longer(paths: Sequence[str], columns: np.ndarray) -> bool:
  """Whether all but the last column, of int [k, n], may be part of the paths.

  As of "clip 1" and "clip 2", but not where a suffix ends the path, nor where
  the last column is no label.
  """
  if ENDS_AS_MEDIA.search(paths[0]) or (columns[-1] < 0).any():
    return False
  spaced = len(paths[0].split()) > 1
  return spaced or len(set(paths)) < len(paths)


def _split(
  line: str, width: int, named: bool = False
) -> tuple[str, ...] | None:
  """A line's path and `width` fields; None: it has not as many.

  They are whole numbers; where `named`, the last may be a name.
  """
  if line[0] == '"':
    match = FIRST_QUOTED.fullmatch(line)
    if not match or not match[3]:
      return None
    fields = _fields(match[3], width, named)
    return fields and (match[1].replace('""', '"'), *fields)
  if match := MEDIA.fullmatch(line):
    fields = _fields(match[2], width, named)
    return fields and (match[1], *fields)
  for separator in ("\t", ",", None):
    # A comma or tab wins only where an integer follows it.
    last = line.rsplit(separator, 1)[-1].strip()
    if not named and not INTEGER.fullmatch(last):
      continue
    path, *fields = line.rsplit(separator, width)
    if len(fields) == width and path.strip() and _are_right(fields, named):
      return path.rstrip(), *(field.strip() for field in fields)
    if not named:
      break
  return None


def _fields(rest: str, width: int, named: bool) -> tuple[str, ...] | None:
  """What stands behind a path."""
  fields = _SEPARATOR.split(rest, maxsplit=width - 1)
  fields = [
    field[1:-1].replace('""', '"')
    if len(field) > 1 and field[0] == field[-1] == '"'
    else field
    for field in fields
  ]
  right = len(fields) == width and _are_right(fields, named)
  return tuple(fields) if right else None


def _are_right(fields: Sequence[str], named: bool) -> bool:
  numbers = fields[: len(fields) - named]
  return all(
    INTEGER.fullmatch(field.strip()) and list_labels.fits(field.strip())
    for field in numbers
  )


def refuse_joined(labels: Iterable[str], where: str, classes: bool) -> None:
  """Refuses labels that may be columns before a label: "16 78", "12 run".

  Args:
    labels: all different ones, as written.
    where: the list, for messages.
    classes: whether they are used.

  Raises:
    UserError: with both readings, or that some lines have more columns.
  """
  labels = list(labels)
  numbers = [all(map(INTEGER.fullmatch, _SEPARATOR.split(x))) for x in labels]
  several = [x for x in labels if _SEPARATOR.search(x)]
  if labels and several and all(numbers):
    raise errors.UserError(
      f"{where}: some lines have one number behind the path, and others "
      f"several: {several[0]!r}; write the same columns in all"
    )
  matches = [_NUMBER_FIRST.fullmatch(label) for label in labels]
  if matches and all(matches) and (classes or not any(numbers)):
    number, label = matches[0].groups()
    raise errors.UserError(
      f"{where}: {labels[0]!r} may be a label, or a file of {number} frames "
      f"and the label {label!r}, and so may all rows: say which, by "
      "--config.data.list_form=path,label or path,frames,label (--list-form of "
      "other commands)"
    )
