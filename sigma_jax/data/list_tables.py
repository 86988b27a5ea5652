"""Lists whose columns have names: CSV, TSV, JSON lines and Parquet.

`path` has to be there. `label`, a class by number or by name, `start` and `end`
in seconds, or `start_frame` and `num_frames`, may be; other columns are not
used. An empty field is none: no label, from the start, to the end.
"""

import array
import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sigma_jax import errors
from sigma_jax.data import list_columns, list_labels
from sigma_jax.data.list_lines import Lines
from sigma_jax.data.parts import Parts

_SECONDS, _FRAMES = ("start", "end"), ("start_frame", "num_frames")
_KNOWN = ("path", "label", *_SECONDS, *_FRAMES)
_FEWEST = re.compile(rb'\s*\{[^\n]*"path"')

# Row -> where it stands, for messages.
_Place = Callable[[int], str]


def read(data: bytes, where: str, classes: bool = True) -> Lines | None:
  """Rows of a table; None: the file is none.

  Args:
    data: the whole file.
    where: such as "manifest train.csv", for messages.
    classes: whether every row has to have a label.

  Raises:
    UserError: something of it cannot be; one line with the place.
  """
  if data[:4] == b"PAR1":
    kind, (columns, place) = "Parquet", _parquet(data, where)
  elif _FEWEST.match(data):
    kind, (columns, place) = "JSON lines", _json_lines(data, where)
  elif delimiter := _delimiter(data):
    kind = "TSV" if delimiter == "\t" and b"\t" in data else "CSV"
    columns, place = _text(data, where, delimiter)
  else:
    return None
  return _lines(kind, columns, where, place, classes)


def are_rows(data: bytes) -> bool:
  """Whether JSON lines are rows of a list, and not of something else."""
  return bool(_FEWEST.match(data))


def _delimiter(data: bytes) -> str:
  """What separates the header's columns; "": there is no header."""
  line = data[:65536].decode("utf-8-sig", "surrogateescape").lstrip()
  line = line.splitlines()[0] if line else ""
  for delimiter in "\t,":
    fields = [field.strip().strip('"') for field in line.split(delimiter)]
    # A file may be called "path", but hardly all that stands behind it names.
    names = [field.lower() for field in fields]
    if "path" in names and not any(map(_is_value, fields)):
      return delimiter
  return ""


def _is_value(field: str) -> bool:
  return not field or bool(
    list_labels.INTEGER.fullmatch(field)
    or list_columns.ENDS_AS_MEDIA.search(field)
  )


def _text(data: bytes, where: str, delimiter: str):
  """Columns of a CSV or TSV file, and where rows stand."""
  # surrogateescape: file names need not be UTF-8.
  text = io.TextIOWrapper(
    io.BytesIO(data), "utf-8-sig", "surrogateescape", newline=""
  )
  reader = csv.reader(text, delimiter=delimiter, strict=True)
  columns, numbers, header = [], array.array("i"), None
  try:
    for row in reader:
      if not row or (len(row) == 1 and not row[0].strip()):
        continue
      if header is None:
        header = [name.strip().lower() for name in row]
        columns = [[] for _ in header]
        put = [column.append for column in columns]
        continue
      if len(row) != len(header):
        raise errors.UserError(
          f"{where}, line {reader.line_num}: {delimiter.join(row)!r} has "
          f"{len(row)} fields, and the header has {len(header)}; a field with "
          "separators in it stands in quotes"
        )
      for add, field in zip(put, row, strict=True):
        add(field.strip())
      numbers.append(reader.line_num)
  except csv.Error as error:
    raise errors.UserError(
      f"{where}, line {reader.line_num}: {error}"
    ) from error
  _check_names(header, where)
  found = dict(zip(header, columns, strict=True))
  return found, lambda row: f"{where}, line {numbers[row]}"


def _check_names(names: Sequence[str], where: str) -> None:
  twice = {name for name in names if names.count(name) > 1 and name in _KNOWN}
  if twice:
    raise errors.UserError(
      f"{where}: its header names the column {min(twice)!r} twice"
    )


def _json_lines(data: bytes, where: str):
  """As `_text`, of a file with a JSON object a line."""
  rows, numbers = [], []
  for number, line in enumerate(data.split(b"\n"), 1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except ValueError as error:
      raise errors.UserError(f"{where}, line {number}: {error}") from error
    if not isinstance(row, dict):
      raise errors.UserError(f"{where}, line {number}: not a JSON object")
    rows.append(row)
    numbers.append(number)
  names = dict.fromkeys(name for row in rows for name in row)
  columns = {name: [row.get(name) for row in rows] for name in names}
  return columns, lambda row: f"{where}, line {numbers[row]}"


def _parquet(data: bytes, where: str):
  """As `_text`, of a Parquet file."""
  import pyarrow
  from pyarrow import parquet

  try:
    file = parquet.ParquetFile(io.BytesIO(data))
    names = [name for name in file.schema_arrow.names if name in _KNOWN]
    table = file.read(columns=names)
    columns = {name: table.column(name).to_pylist() for name in names}
  except (pyarrow.ArrowException, OSError) as error:
    text = " ".join(str(error).split())
    raise errors.UserError(f"{where} is not a Parquet file ({text})") from error
  others = [n for n in file.schema_arrow.names if n not in _KNOWN]
  columns |= dict.fromkeys(others, ())
  return columns, lambda row: f"{where}, row {row}"


def _lines(
  kind: str, columns: dict, where: str, place: _Place, classes: bool
) -> Lines:
  if "path" not in columns:
    raise errors.UserError(
      f"{where}: no column 'path' among {', '.join(map(str, columns))}; call "
      "the one with the files so"
    )
  paths = columns["path"]
  for row, path in enumerate(paths):
    if not isinstance(path, str) or not path:
      raise errors.UserError(f"{place(row)}: no path, but {path!r}")
  labels, names = _labels(columns, where, place, classes)
  parts, used = _parts(columns, where, place)
  others = [name for name in columns if name not in ("path", "label", *used)]
  shown = ["path", *(["label"] if "label" in columns else []), *used]
  text = f"{kind} with a header, columns {', '.join(shown)}"
  if others:
    text += f" (not used: {list_labels.listed(list(map(str, others)))})"
  return Lines(list(paths), labels, names, parts, text)


def _labels(
  columns: dict, where: str, place: _Place, classes: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
  paths = columns["path"]
  if "label" not in columns:
    if classes:
      raise errors.UserError(
        f"{where}: no column 'label' among {', '.join(map(str, columns))}; "
        "training and testing by class need one"
      )
    return np.full(len(paths), -1, np.int32), ()
  codes: dict[str | None, int] = {}
  known: dict[str, int] = {}  # texts as they are, for speed
  of_row = np.empty(len(paths), np.int32)
  for row, value in enumerate(columns["label"]):
    code = known.get(value) if isinstance(value, str) else None
    if code is None:
      label = _as_text(value, place, row)
      if classes and label is None:
        raise errors.UserError(f"{place(row)}: no label for {paths[row]!r}")
      if classes and label not in codes:
        before = next(iter(codes), None)
        list_labels.check(label, before, f"{paths[row]} {label}", place(row))
      code = codes.setdefault(label, len(codes))
      if isinstance(value, str):
        known[value] = code
    of_row[row] = code
  return list_labels.numbered(codes, of_row)


def _as_text(value: Any, place: _Place, row: int) -> str | None:
  """A label as in a text file; None: there is none."""
  if value is None or value == "" or value != value:  # NaN
    return None
  if isinstance(value, str):
    return value.strip() or None
  if isinstance(value, int | float) and not isinstance(value, bool):
    return str(int(value)) if value == int(value) else str(value)
  raise errors.UserError(f"{place(row)}: {value!r} is no label")


def _parts(
  columns: dict, where: str, place: _Place
) -> tuple[Parts | None, tuple[str, ...]]:
  """Windows, and the columns that they are of."""
  seconds = tuple(name for name in _SECONDS if name in columns)
  # How many frames a file has says nothing of a part.
  frames = _FRAMES if _FRAMES[0] in columns else ()
  frames = tuple(name for name in frames if name in columns)
  if seconds and frames:
    raise errors.UserError(
      f"{where} has columns {', '.join(seconds + frames)}: say parts of videos "
      "in seconds or in frames, and call the other columns otherwise"
    )
  used = seconds or frames
  if not used:
    return None, ()
  starts, ends = (
    _numbers(columns.get(name), name, len(columns["path"]), none, place)
    for name, none in (
      zip(_SECONDS, (0, math.inf), strict=True)
      if seconds
      else zip(_FRAMES, (0, -1), strict=True)
    )
  )
  if seconds:
    wrong, need = ends <= starts, "0 <= start < end"
  else:
    wrong = (starts % 1 != 0) | (ends % 1 != 0) | ((ends < 1) & (ends != -1))
    need = "start_frame from 0 up, and num_frames from 1 up or -1 (to the end)"
  wrong |= starts < 0
  if wrong.any():
    row = int(np.flatnonzero(wrong)[0])
    told = ", ".join(f"{name} {columns[name][row]}" for name in used)
    raise errors.UserError(
      f"{place(row)}: {columns['path'][row]!r} has {told}; it needs {need}"
    )
  make = Parts.of_seconds if seconds else Parts.of_frames
  parts = make(starts, ends)
  return (None if parts.are_whole else parts), used


def _numbers(
  values: Sequence[Any] | None,
  name: str,
  count: int,
  none: float,
  place: _Place,
) -> np.ndarray:
  """A column as float64 [n]; `none` where there is nothing."""
  found = np.full(count, none, np.float64)
  if values is None:
    return found
  try:  # all at once, where there are no others
    at_once = np.array(values, np.float64)
    if np.isfinite(at_once).all():
      return at_once
  except (TypeError, ValueError):
    pass  # some are empty, or wrong
  for row, value in enumerate(values):
    if value is None or value == "" or value != value:  # NaN
      continue
    try:
      number = math.inf if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
      number = math.inf
    if not math.isfinite(number):
      raise errors.UserError(f"{place(row)}: {name} {value!r} is no number")
    found[row] = number
  return found
