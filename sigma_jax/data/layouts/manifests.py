"""Rows of official annotations -> manifests, classes and what is missing."""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Iterable

from sigma_jax import errors, files
from sigma_jax.data import list_lines, manifest
from sigma_jax.data.layouts.files import Index

MISSING = "missing.txt"


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of the official annotations.

  Attributes:
    name: the file's name, without folders and suffix.
    label: its class, from 0 up.
    hints: folders that it may lie in, see `files.Index.find`.
  """

  name: str
  label: int
  hints: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Placed:
  """A row and its file.

  Attributes:
    name: as listed when there is no file.
    label: from 0 up.
    path: absolute; None: there is no such file.
  """

  name: str
  label: int
  path: str | None


def place(rows: Iterable[Row], index: Index) -> list[Placed]:
  """Looks every row up, in order."""
  root = os.path.abspath(index.root)
  placed = []
  for row in rows:
    path = index.find(row.name, row.hints)
    absolute = None if path is None else os.path.join(root, path)
    placed.append(Placed(row.name, row.label, absolute))
  return placed


def build(
  args: argparse.Namespace,
  splits: dict[str, list[Row]],
  classes: tuple[str, ...] = (),
  *,
  official: int = 0,
  fold_case: bool = False,
) -> None:
  """Looks the rows up under `args.videos` and writes what `write` does.

  Args:
    args: `videos`, `out` and `relative` are read.
    splits: rows by split, in the order to write.
    classes: as for `write`.
    official: classes that the data set has; 0: any number.
    fold_case: as for `files.Index`.

  Raises:
    UserError: as `write` and `files.Index`.
  """
  if official and len(classes) != official:
    note(f"{len(classes)} classes; the whole data set has {official}")
  index = Index(args.videos, fold_case=fold_case)
  placed = {split: place(rows, index) for split, rows in splits.items()}
  if index.ambiguous:
    note(
      f"{len(index.ambiguous)} names belong to several different files, such "
      f"as {index.ambiguous[0]!r}; the first was taken"
    )
  write(
    args.out,
    placed,
    classes=classes,
    base=args.videos if args.relative else "",
    source=args.videos,
  )


def write(
  out: str,
  splits: dict[str, list[Placed]],
  *,
  classes: tuple[str, ...] = (),
  base: str = "",
  source: str = "",
) -> None:
  """Writes `OUT/<split>.csv`, label_sets.json and missing.txt, and says so.

  A split none of whose files is there gets no manifest. missing.txt holds a
  line "split<TAB>name" for every row without a file; it is not there when no
  row is missing.

  Args:
    out: folder, made if missing.
    splits: rows by split, in the order to write.
    classes: names of labels 0, 1, ...; empty: no label_sets.json.
    base: folder that paths are written relative to; empty: absolute.
    source: where files were looked for, for messages.

  Raises:
    UserError: no file at all was found, or a path that a manifest cannot hold.
  """
  absent = [
    f"{split}\t{row.name}\n"
    for split, rows in splits.items()
    for row in rows
    if row.path is None
  ]
  total = sum(map(len, splits.values()))
  if not total:
    raise errors.UserError("the annotations have no rows")
  if len(absent) == total:
    name = absent[0].rstrip("\n").split("\t")[1]
    raise errors.UserError(
      f"none of the {total} files of the annotations is in {source!r}; the "
      f"first one looked for is {name!r}, at any depth and with any suffix of "
      "a video or image"
    )
  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  for split, rows in splits.items():
    _write_split(folder / f"{split}.csv", rows, base)
  if classes:
    content = {"names": list(classes), "of_label": list(range(len(classes)))}
    text = json.dumps({"label": content}, indent=1)
    put(folder / manifest.LABEL_SETS, text)
    print(
      f"{len(classes)} classes -> {folder / manifest.LABEL_SETS}", flush=True
    )
  write_missing(folder / MISSING, absent, total, source)


def _write_split(path: pathlib.Path, rows: list[Placed], base: str) -> None:
  found = [row for row in rows if row.path is not None]
  if not found:
    path.unlink(missing_ok=True)
    note(f"{path.stem}: none of its {len(rows)} files was found; no {path}")
    return
  names = [
    os.path.relpath(row.path, base) if base else row.path for row in found
  ]
  text = "".join(
    list_lines.line(name, row.label)
    for name, row in zip(names, found, strict=True)
  )
  put(path, text)
  _read_back(path, base, names)
  missing = len(rows) - len(found)
  print(
    f"{path.stem}: {len(found)} files"
    + (f", {missing} missing" if missing else "")
    + f" -> {path}",
    flush=True,
  )


def _read_back(path: pathlib.Path, base: str, names: list[str]) -> None:
  """Whatever names hold, what was written is what will be read."""
  wanted = [os.path.join(base or path.parent, name) for name in names]
  try:
    got = list(manifest.load(str(path), base).files)
  except errors.UserError:
    got = []
  if got != wanted:
    path.unlink()
    pairs = itertools.zip_longest(wanted, got)
    wrong = next(name for name, other in pairs if name != other)
    raise errors.UserError(
      f"a manifest cannot hold the file name {wrong!r}; rename the file"
    )


def write_missing(
  path: pathlib.Path, absent: list[str], total: int, source: str
) -> None:
  """Writes the lines of missing.txt and says so; none: removes an old one."""
  if not absent:
    path.unlink(missing_ok=True)
    return
  put(path, "".join(absent))
  note(
    f"{len(absent)} of {total} rows have no file in {source}; they are listed "
    f"in {path}"
  )


def put(path: pathlib.Path, text: str) -> None:
  """Writes a text file that is there whole or not at all."""
  files.write_whole(path, text.encode(errors="surrogateescape"))


def note(line: str) -> None:
  """Something that the user should know, on stderr."""
  print(f"note: {line}", file=sys.stderr, flush=True)
