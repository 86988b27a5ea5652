"""Kinetics-400, 600 and 700.

Annotations: train.csv and val.csv (or train.txt, val.txt, validate.csv), and
test.csv if it has labels, with the columns label, youtube_id, time_start,
time_end, split. Videos: `ID_SSSSSS_EEEEEE.mp4`, flat or in folders of classes
or splits. A file in a folder `replacement*` (CVDF's repaired K400 files) is
taken before its namesake elsewhere. Labels are places in the sorted list of the
class names in train.csv.
"""

import csv

from sigma_jax import errors
from sigma_jax.data.layouts import arguments, files, manifests

_CLASSES = {"kinetics400": 400, "kinetics600": 600, "kinetics700": 700}
_COLUMNS = ("youtube_id", "time_start", "time_end")
_SPLITS = {
  "train": ("train.csv", "train.txt"),
  "val": ("val.csv", "val.txt", "validate.csv"),
}


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of train.csv and val.csv")


def run(args) -> None:
  tables = {
    split: _table(files.annotation(args.annotations, *names))
    for split, names in _SPLITS.items()
  }
  if test := files.optional_annotation(args.annotations, "test.csv"):
    tables["test"] = _table(test)
  unlabelled = [s for s, rows in tables.items() if not rows[0].get("label")]
  if set(unlabelled) - {"test"}:
    raise errors.UserError(
      f"{unlabelled[0]}.csv in {args.annotations!r} has no column 'label'"
    )
  if unlabelled:
    manifests.note("test.csv has no labels: no manifest is made of it")
    del tables["test"]
  classes = tuple(sorted({row["label"] for row in tables["train"]}))
  label_of = {name: label for label, name in enumerate(classes)}
  splits = {
    split: [_row(split, row, label_of) for row in rows]
    for split, rows in tables.items()
  }
  manifests.build(args, splits, classes, official=_CLASSES[args.command])


def _table(path: str) -> list[dict[str, str]]:
  """The rows of one CSV, each with its place under "where"."""
  with open(path, encoding="utf-8-sig", newline="") as file:
    reader = csv.DictReader(file)
    missing = set(_COLUMNS) - set(reader.fieldnames or ())
    if missing:
      raise errors.UserError(
        f"{path}: no column {min(missing)!r} in its first line; Kinetics has "
        "label,youtube_id,time_start,time_end,split"
      )
    rows = [
      row | {"where": f"{path}, line {reader.line_num}"} for row in reader
    ]
  if not rows:
    raise errors.UserError(f"{path} has no rows")
  return rows


def _row(split: str, row: dict, label_of: dict[str, int]) -> manifests.Row:
  label = row["label"]
  if label not in label_of:
    raise errors.UserError(
      f"{row['where']}: class {label!r} does not occur in train.csv; are both "
      "of the same release?"
    )
  try:
    # Some releases write seconds as 12.0.
    start, end = (int(float(row[key])) for key in _COLUMNS[1:])
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"{row['where']}: time_start and time_end must be seconds, got "
      f"{row['time_start']!r} and {row['time_end']!r}"
    ) from error
  name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
  return manifests.Row(name, label_of[label], (label, split))
