"""What the lines of a list of videos say: paths, and what stands behind them.

A line is `path label`. The separator is a tab, a comma or spaces; where path or
label stand in double quotes they are read as CSV means them (RFC 4180: a quote
in them is doubled, separators and line breaks are part of them). Where nobody
wants classes, labels may be anything or missing, and `path 0 -1`, a line of
VideoMAE V2's pre-training lists (path, first frame, number of frames, of which
-1 says that it is a video), is a path alone.
"""

import array
import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sigma_jax import errors
from sigma_jax.data import plain_list

_MAX_LABEL = np.iinfo(np.int32).max
_INTEGER = re.compile(r"[+-]?[0-9]+")
# VideoMAE V2's first frame and "to the end".
_PLACE = re.compile(r"[0-9]+(?:\s*[\t,]\s*|\s+)-1")
_SUFFIX = (
  r"\.(?:mp4|webm|mkv|avi|mov|m4v|mpe?g|m?ts|flv|wmv|3gp|ogv|gif|jpe?g|png|bmp"
  r"|webp)"
)
_ENDS_AS_MEDIA = re.compile(rf"{_SUFFIX}$", re.I)
# A path up to the last such suffix that a separator follows, and the rest.
_MEDIA = re.compile(rf"(.*{_SUFFIX})(?:\s*[\t,]\s*|\s+)(.*)", re.I | re.S)
_USUAL_QUOTED = re.compile(r'"([^"]+)"(?: *[\t,] *| +)(?:"([0-9]+)"|([0-9]+))')
_FIRST_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?:(\s*[\t,]\s*|\s+)(.*))?', re.S)
_LAST_QUOTED = re.compile(r'(.*?\S)(?:\s*[\t,]\s*|\s+)"((?:[^"]|"")*)"', re.S)
# A column before the path, such as the row's number.
_INNER_QUOTED = re.compile(r'[\t,]\s*"(?:[^"]|"")*"\s*[\t,]\s*"?-?[0-9]+"?$')
# First columns of lists that begin with a header line, which is not read.
_HEADERS = re.compile(
  r"(?:(?:video|file|youtube|image)?[ _]?(?:path|name|id)|file|video|clip|image"
  r"|label|class|category)s?",
  re.I,
)
_WANTED = "write 'path label', separated by a space, comma or tab"


class Lines(NamedTuple):
  """n rows of a list.

  paths: as written. labels: int32 [n], -1 where there is none. names: empty
  where labels are numbers; else what they say, sorted, and labels are places
  in it.
  """

  paths: list[str]
  labels: np.ndarray
  names: tuple[str, ...]


def read(data: bytes, where: str, classes: bool = True) -> Lines:
  """Rows of a list; blank lines are skipped.

  Args:
    data: the whole file. Names of files need not be UTF-8.
    where: such as "manifest train.csv", for messages.
    classes: whether every label has to be a class index from 0 up.

  Raises:
    UserError: not such a list; one line with the line's number and text.
  """
  if b"\0" in data:
    raise errors.UserError(
      f"{where} is no text in UTF-8 (there are zero bytes in it); it has to be "
      "a text file with one 'path label' a line"
    )
  if plain := plain_list.read(data, classes):
    found, labels = plain
    if labels[0] < 0:
      first = next(_records(data, where))[1]
      _refuse_header(None, first, found, f"{where}, first line")
    return Lines(found, labels, ())
  separators = [s for s in "\t," if s.encode() in data] + [None]
  paths: list[str] = []
  codes: dict[str | None, int] = {}  # label as written -> number in `of_row`
  of_row = array.array("i")
  for number, line in _records(data, where):
    # Labels come again and again: lines with a known one are done at once.
    for separator in separators if classes and '"' not in line else ():
      parts = line.rsplit(separator, 1)
      if len(parts) == 2:
        code = codes.get(parts[1].strip())
        if code is not None and (path := parts[0].rstrip()):
          break
    else:
      place = f"{where}, line {number}"
      path, label = _split(line, place, classes)
      if classes:
        _check_class(label, line, place)
      elif not paths:
        first = label, line
      code = codes.setdefault(label, len(codes))
    paths.append(path)
    of_row.append(code)
  if paths and not classes:
    _refuse_header(*first, paths, f"{where}, first line")
  return Lines(paths, *_numbered(codes, np.array(of_row, np.int32)))


def line(path: str, label: int) -> str:
  """The line of a row, quoted where it has to be."""
  plain = not set(path) & set(" \t,")
  if path[:1] == '"' or path != path.strip() or set(path) & set("\r\n"):
    path, plain = '"' + path.replace('"', '""') + '"', True
  # VideoMAE's readers want a space; paths with spaces need the tab.
  return f"{path}{' ' if plain else chr(9)}{label}\n"


def _records(data: bytes, where: str) -> Iterator[tuple[int, str]]:
  """Lines that are not blank, stripped, with their numbers from 1.

  A line that ends inside a quoted path is joined with those after it.
  """
  # surrogateescape: file names need not be UTF-8; a BOM is not part of one.
  # The line breaks stay what they are: a quoted path may hold one.
  lines = enumerate(
    io.TextIOWrapper(
      io.BytesIO(data), "utf-8-sig", "surrogateescape", newline=""
    ),
    1,
  )
  for number, line in lines:
    if line[0] == '"' and line.count('"') % 2:
      first, parts = line, [line]
      for _, more in lines:
        parts.append(more)
        if more.count('"') % 2:
          break
      else:
        raise errors.UserError(
          f"{where}, line {number}: the quote that begins {first.strip()!r} is "
          "not closed; a quote that is part of a name is doubled, and the name "
          "stands in quotes"
        )
      line = "".join(parts)
    if line := line.strip():
      yield number, line


def _split(line: str, where: str, classes: bool) -> tuple[str, str | None]:
  """Path and label of a line; None: it has none."""
  if '"' in line and (found := _quoted(line, where)):
    return found
  # Where labels may be anything, the suffix tells where the path ends.
  if not classes and (match := _MEDIA.fullmatch(line)):
    label = match[2]
    return match[1], None if _PLACE.fullmatch(label) else label
  # A comma or tab wins only where an integer follows it: "a,b.mp4 3" is a
  # path with a comma in it, separated by a space.
  for separator in ("\t", ",", None):
    path, *rest = line.rsplit(separator, 1)
    if rest and _INTEGER.fullmatch(label := rest[0].strip()):
      before, *first = path.rsplit(separator, 1)
      if label == "-1" and first and _INTEGER.fullmatch(first[0].strip()):
        path, label = before, None
      if path.strip():
        return path.rstrip(), label
  if _ENDS_AS_MEDIA.search(line):
    return line, None
  for separator in ("\t", ",", None):
    path, *rest = line.rsplit(separator, 1)
    if rest and path.strip():
      return path.rstrip(), rest[0].strip()
  return line, None


def _quoted(line: str, where: str) -> tuple[str, str | None] | None:
  """As `_split`, of a line with quotes; None: they are part of a name."""
  if match := _USUAL_QUOTED.fullmatch(line):
    return match[1], match[2] or match[3]
  if match := _FIRST_QUOTED.fullmatch(line):
    path, separator, rest = match.groups()
    path = path.replace('""', '"')
    if not rest or _PLACE.fullmatch(rest.replace('"', "")):
      return path, None
    label = _field(rest, separator)
    if path and label is not None and not _MEDIA.fullmatch(f"{label} "):
      return path, label
  elif line[0] != '"' and not _INNER_QUOTED.search(line):
    if match := _LAST_QUOTED.fullmatch(line):
      return match[1], match[2].replace('""', '"').strip() or None
    return None
  raise errors.UserError(
    f"{where}: {line!r} is not a path and a label with quotes as in CSV files; "
    "a name that begins with a quote stands in quotes, and those that are part "
    "of it are doubled"
  )


def _field(text: str, separator: str) -> str | None:
  """The one field behind a quoted path; None: they are several, or none."""
  delimiter = next((s for s in ",\t" if s in separator), " ")
  try:
    fields = next(csv.reader([text], delimiter=delimiter, strict=True))
  except csv.Error:
    return None
  if delimiter == " ":  # "playing guitar" is one label
    fields = [" ".join(fields)]
  return fields[0].strip() if len(fields) == 1 else None


def _check_class(label: str | None, line: str, where: str) -> None:
  """Raises UserError unless the label is a class index."""
  if label is None and re.search(r'-1"?$', line):
    raise errors.UserError(
      f"{where}: {line!r} has no label: it is a line of a pre-training list "
      "(path, first frame, -1 for a video); write 'path label' with a class "
      "index from 0 up"
    )
  if label is None or _ENDS_AS_MEDIA.search(label):
    raise errors.UserError(f"{where}: no label in {line!r}; {_WANTED}")
  if not _INTEGER.fullmatch(label):
    raise errors.UserError(
      f"{where}: label {label!r} is not an integer in {line!r}; write "
      "'path label' with a class index from 0 up, and no header line"
    )
  if not _fits(label) or int(label) < 0:
    raise errors.UserError(
      f"{where}: label {label} is out of range in {line!r}; labels are class "
      "indices from 0 up"
    )


def _refuse_header(
  label: str | None, line: str, paths: list[str], place: str
) -> None:
  """Raises UserError where the first line names columns, or is JSON."""
  if label is not None and _INTEGER.fullmatch(label):
    return
  media = [bool(_ENDS_AS_MEDIA.search(path)) for path in paths[:2]]
  word = re.split(r'[\t, "]+', line.strip('"'))[0]
  if media == [False, True] or _HEADERS.fullmatch(word) or line[0] in "{[":
    raise errors.UserError(
      f"{place}: {line!r} looks like a header line or JSON; {_WANTED}, and no "
      "header line"
    )


def _fits(label: str) -> bool:
  """Whether an integer is one of 32 bits."""
  return len(label) < 12 and abs(int(label)) <= _MAX_LABEL


def _numbered(
  codes: dict[str | None, int], of_row: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Labels and names as of `Lines`, from labels as written."""
  texts = [text for text in codes if text is not None]
  if all(_INTEGER.fullmatch(text) and _fits(text) for text in texts):
    numbers = [-1 if text is None else int(text) for text in codes]
    return np.array(numbers, np.int32)[of_row], ()
  names = sorted({text or "" for text in codes})
  place = {name: number for number, name in enumerate(names)}
  numbers = [place[text or ""] for text in codes]
  return np.array(numbers, np.int32)[of_row], tuple(names)
