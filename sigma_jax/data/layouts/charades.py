"""Charades: 157 classes, several a video, each with its times.

Annotations: Charades_v1_train.csv and Charades_v1_test.csv, whose column
`actions` is "c092 11.90 21.20;c147 0.00 12.60", and Charades_v1_classes.txt,
lines `c000 Holding some clothes`. Videos: `ID.mp4`. The official test part
becomes val.csv. A manifest's labels are rows of train_labels.npz and
val_labels.npz, which hold the classes: read them with
sigma_jax.data.annotations.multilabel.load.
"""

import csv
import pathlib

from sigma_jax import errors
from sigma_jax.data.annotations import multilabel
from sigma_jax.data.layouts import arguments, files, manifests


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of Charades_v1_train.csv, ...")


def run(args) -> None:
  classes = _classes(
    files.annotation(args.annotations, "Charades_v1_classes.txt")
  )
  if len(classes) != 157:
    manifests.note(f"{len(classes)} classes; Charades has 157")
  splits, tables = {}, {}
  for split, official in (("train", "train"), ("val", "test")):
    path = files.annotation(args.annotations, f"Charades_v1_{official}.csv")
    names, spans = _read(path, classes)
    tables[split] = names, spans
    splits[split] = [manifests.Row(name, i) for i, name in enumerate(names)]
  manifests.build(args, splits)
  for split, (names, spans) in tables.items():
    target = pathlib.Path(args.out) / f"{split}_labels.npz"
    multilabel.save(str(target), names, spans, tuple(classes.values()))
    print(f"{len(names)} rows of {len(classes)} classes -> {target}")


def _classes(path: str) -> dict[str, str]:
  """Code such as c000 -> name; codes count from 0."""
  classes = {}
  for where, line in files.lines(path):
    code, _, name = line.partition(" ")
    if code != f"c{len(classes):03d}" or not name:
      raise errors.UserError(
        f"{where}: expected 'c{len(classes):03d} Name of the class', got "
        f"{line!r}"
      )
    classes[code] = name.strip()
  return classes


def _read(path: str, classes: dict[str, str]):
  """Video ids, and (row, class, start, end) of every action, in seconds."""
  index_of = {code: index for index, code in enumerate(classes)}
  names, spans = [], []
  with open(path, encoding="utf-8-sig", newline="") as file:
    reader = csv.DictReader(file)
    if not {"id", "actions"} <= set(reader.fieldnames or ()):
      raise errors.UserError(f"{path}: needs the columns 'id' and 'actions'")
    for record in reader:
      for action in filter(None, (record["actions"] or "").split(";")):
        try:
          code, start, end = action.split()
          spans.append((len(names), index_of[code], float(start), float(end)))
        except (ValueError, KeyError) as error:
          raise errors.UserError(
            f"{path}, video {record['id']!r}: expected 'c092 11.90 21.20', got "
            f"{action!r}"
          ) from error
      names.append(record["id"])
  return names, spans
