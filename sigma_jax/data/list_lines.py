"""What the lines of a list without a header say.

A line is a path and, where there are any, a label, or the columns that
`list_forms` names. The separator is a tab, a comma or spaces; where path or
label stand in double quotes they are read as CSV means them (RFC 4180: a quote
in them is doubled, separators and line breaks are part of them). Labels are
class numbers or, all of them, names. Where nobody wants classes they may be
anything or missing.
"""

import array
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sigma_jax import errors
from sigma_jax.data import (
  list_columns,
  list_forms,
  list_labels,
  list_quotes,
  plain_list,
)
from sigma_jax.data.list_columns import ENDS_AS_MEDIA, FIRST_QUOTED, MEDIA
from sigma_jax.data.list_labels import INTEGER
from sigma_jax.data.parts import Parts

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
  in it. parts: of the files; None: all of each. columns: a form, or in words.
  """

  paths: list[str]
  labels: np.ndarray
  names: tuple[str, ...]
  parts: Parts | None = None
  columns: str = list_forms.LABEL


def read(
  data: bytes, where: str, classes: bool = True, form: str = ""
) -> Lines:
  """Rows of a list; blank lines are skipped.

  Args:
    data: the whole file. Names of files need not be UTF-8.
    where: such as "manifest train.csv", for messages.
    classes: whether every row has to have a label.
    form: one of `LIST_FORMS`; empty: told from the lines.

  Raises:
    UserError: not such a list, or two forms fit it; one line with the line's
      number and text.
  """
  if b"\0" in data:
    raise errors.UserError(
      f"{where} is no text in UTF-8 (there are zero bytes in it); it has to be "
      "a text file with one 'path label' a line"
    )
  if plain := _plain(data, classes, form):
    return plain
  first = next(_records(data, where), None)
  if first is None:
    return Lines([], np.zeros(0, np.int32), ())
  if form == list_forms.PATH:
    return _alone([line for _, line in _records(data, where)], where, classes)
  if form not in ("", list_forms.LABEL) or (
    not form and list_columns.count(first[1]) > 1
  ):
    found = list_columns.read(_records(data, where), where, classes, form)
    if found is not None:
      return Lines(*found)
  return _labelled(data, where, classes, form)


def _plain(data: bytes, classes: bool, form: str) -> Lines | None:
  """Of plain lines; None: they are not, or something is wrong with them."""
  if form == list_forms.PATH or (found := plain_list.read(data)) is None:
    return None
  paths, columns = found
  if len(columns) == 1:
    fits = form in ("", list_forms.LABEL)
    return Lines(paths, columns[0], ()) if fits else None
  forms = list_forms.fitting(columns, classes)
  chosen = form or (forms[0] if len(forms) == 1 else "")
  if chosen not in forms:
    return None
  if not form and list_columns.may_be_longer(paths, columns):
    return None
  labels = list_forms.labels_of(columns, chosen)
  return Lines(paths, labels, (), list_forms.parts_of(columns, chosen), chosen)


def _alone(paths: list[str], where: str, classes: bool) -> Lines:
  """Rows that are paths and nothing else."""
  if classes:
    raise errors.UserError(
      f"{where} has no labels, as its form {list_forms.PATH!r} says: training "
      "and testing by class need them"
    )
  paths = [
    match[1].replace('""', '"')
    if (match := FIRST_QUOTED.fullmatch(path)) and match[2] is None
    else path
    for path in paths
  ]
  labels = np.full(len(paths), -1, np.int32)
  return Lines(paths, labels, (), None, list_forms.PATH)


def _labelled(data: bytes, where: str, classes: bool, form: str) -> Lines:
  """Rows of a path and a label, or of paths alone."""
  separators = [s for s in "\t," if s.encode() in data] + [None]
  paths: list[str] = []
  codes: dict[str | None, int] = {}  # label as written -> number in `of_row`
  of_row = array.array("i")
  for number, line in _records(data, where):
    # Labels come again and again: lines with a known one are done at once.
    known = _known(line, codes, separators) if classes else None
    if known is not None:
      path, code = known
    else:
      place = f"{where}, line {number}"
      path, label = _split(line, place, classes, form)
      if not paths:
        first = label, line
        if line[0] in "{[":
          _refuse_header(label, line, [path], f"{where}, first line")
      elif len(paths) == 1:
        _refuse_header(*first, [*paths, path], f"{where}, first line")
      if classes:
        _check_class(label, next(iter(codes), None), line, place)
      code = codes.setdefault(label, len(codes))
    paths.append(path)
    of_row.append(code)
  if len(paths) == 1:
    _refuse_header(*first, paths, f"{where}, first line")
  if not form:
    list_columns.refuse_joined([c for c in codes if c], where, classes)
  labels, names = list_labels.numbered(codes, np.array(of_row, np.int32))
  has_labels = any(code is not None for code in codes)
  columns = list_forms.LABEL if has_labels else list_forms.PATH
  return Lines(paths, labels, names, None, columns)


def _known(
  line: str, codes: dict[str | None, int], separators: list[str | None]
) -> tuple[str, int] | None:
  """Path and code of a line with a label that came before; None: not sure."""
  if '"' in line or not codes:
    return None
  if not INTEGER.fullmatch(next(iter(codes)) or ""):  # names, after a suffix
    match = MEDIA.fullmatch(line)
    code = codes.get(match[2]) if match else None
    return None if code is None else (match[1], code)
  for separator in separators:
    path, *rest = line.rsplit(separator, 1)
    code = codes.get(rest[0].strip()) if rest else None
    path = path.rstrip()
    if code is not None and path:
      # A number before it may be another column.
      before = path.rsplit(separator, 1)[-1].strip()
      return None if INTEGER.fullmatch(before) else (path, code)
  return None


def line(path: str, label: int) -> str:
  """The line of a row, quoted where it has to be."""
  plain = not set(path) & set(" \t,")
  odd = path[:1] == '"' or path != path.strip() or set(path) & set("\r\n")
  if odd or MEDIA.fullmatch(path):
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


def _split(
  line: str, where: str, classes: bool, form: str
) -> tuple[str, str | None]:
  """Path and label of a line; None: it has none."""
  if '"' in line and (found := list_quotes.split(line, where)):
    return found
  if found := _after_suffix(line, where, classes, form):
    return found
  # A comma or tab wins only where an integer follows it: "a,b.mp4 3" is a
  # path with a comma in it, separated by a space.
  for separator in ("\t", ",", None):
    path, *rest = line.rsplit(separator, 1)
    if rest and INTEGER.fullmatch(label := rest[0].strip()):
      before, *first = path.rsplit(separator, 1)
      if label == "-1" and first and INTEGER.fullmatch(first[0].strip()):
        _check_whole(int(first[0]), line, where)
        path, label = before, None
      if path.strip():
        return path.rstrip(), label
  if ENDS_AS_MEDIA.search(line):
    return line, None
  if match := MEDIA.fullmatch(line):  # a name with a slash
    return match.groups()
  for separator in ("\t", ",", None):
    path, *rest = line.rsplit(separator, 1)
    if rest and path.strip():
      if classes and not separator and len(line.split()) > 2 and not form:
        raise errors.UserError(
          f"{where}: where in {line!r} the path ends is not clear: separate "
          "path and label by a tab or a comma, or say by "
          "--config.data.list_form=path,label that the last word is the label"
        )
      return path.rstrip(), rest[0].strip()
  return line, None


def _after_suffix(
  line: str, where: str, classes: bool, form: str
) -> tuple[str, str | None] | None:
  """As `_split`, where the suffix tells the path's end; None: not for sure."""
  match = MEDIA.fullmatch(line)
  if match is None:
    return None
  path, label = match.groups()
  if place := list_quotes.PLACE.fullmatch(label):
    _check_whole(int(place[1]), line, where)
    return path, None
  several = list_columns.count(line) > 1
  if several and classes and not form:
    raise errors.UserError(
      f"{where}: {line!r} has more columns than the lines before it; write the "
      "same in all, or say by --config.data.list_form=path,label that all but "
      "the last are part of the path"
    )
  return (path, label) if not classes or not (several or "/" in label) else None


def _check_whole(start: int, line: str, where: str) -> None:
  """Refuses parts of videos among lines of a path and a label."""
  if start:
    raise errors.UserError(
      f"{where}: {line!r} is a part of a video (path, first frame, -1: to the "
      "end), and other lines have no such columns; write the same in all"
    )


def _check_class(
  label: str | None, before: str | None, line: str, where: str
) -> None:
  """Raises UserError unless the label is a class, as the one before is."""
  if label is None and re.search(r'-1"?$', line):
    raise errors.UserError(
      f"{where}: {line!r} has no label: it is a line of a pre-training list "
      "(path, first frame, -1 for a video); write 'path label' with a class "
      "index from 0 up"
    )
  if label is None or ENDS_AS_MEDIA.search(label):
    raise errors.UserError(f"{where}: no label in {line!r}; {_WANTED}")
  list_labels.check(label, before, line, where)


def _refuse_header(
  label: str | None, line: str, paths: list[str], place: str
) -> None:
  """Raises UserError where the first line names columns, or is JSON."""
  if label is not None and INTEGER.fullmatch(label):
    return
  media = [bool(ENDS_AS_MEDIA.search(path)) for path in paths[:2]]
  word = re.split(r'[\t, "]+', line.strip('"'))[0]
  if media == [False, True] or _HEADERS.fullmatch(word) or line[0] in "{[":
    raise errors.UserError(
      f"{place}: {line!r} looks like a header line or JSON; {_WANTED}, and no "
      "header line, or one with commas or tabs and a column 'path'"
    )
