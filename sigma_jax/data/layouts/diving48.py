"""Diving48, version 2.

Annotations: Diving48_V2_train.json and Diving48_V2_test.json, lists of
{"vid_name", "label", "start_frame", "end_frame"}, and Diving48_vocab.json, the
classes as lists of their four parts. Videos: `VID_NAME.mp4`. The official test
part becomes val.csv.
"""

from sigma_jax import errors
from sigma_jax.data.layouts import arguments, files, manifests


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of Diving48_V2_train.json, ...")


def run(args) -> None:
  path = files.annotation(args.annotations, "Diving48_vocab.json")
  classes = tuple(
    " ".join(map(str, parts)) if isinstance(parts, list) else str(parts)
    for parts in files.read_json(path, list)
  )
  splits = {
    split: _rows(
      files.annotation(args.annotations, f"Diving48_V2_{official}.json"),
      len(classes),
    )
    for split, official in (("train", "train"), ("val", "test"))
  }
  manifests.build(args, splits, classes, official=48)


def _rows(path: str, num_classes: int) -> list[manifests.Row]:
  rows = []
  for number, entry in enumerate(files.read_json(path, list)):
    where = f"{path}, entry {number}"
    if not isinstance(entry, dict) or not {"vid_name", "label"} <= set(entry):
      raise errors.UserError(f"{where}: needs 'vid_name' and 'label'")
    label = entry["label"]
    if type(label) is not int or not 0 <= label < num_classes:
      raise errors.UserError(
        f"{where}: label {label!r} is not one of the {num_classes} classes of "
        "Diving48_vocab.json"
      )
    rows.append(manifests.Row(str(entry["vid_name"]), label))
  return rows
