"""Something-Something v2.

Annotations: labels.json, train.json and validation.json of the Qualcomm
release, or the older something-something-v2-{labels,train,validation}.json.
Videos: `ID.webm`, or transcoded under the same names. A row's class is its
template without the brackets; labels are those of labels.json.
"""

from sigma_jax import errors
from sigma_jax.data.layouts import arguments, files, manifests

_SPLITS = {"train": "train", "val": "validation"}


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of labels.json, train.json, ...")


def run(args) -> None:
  path = _path(args.annotations, "labels")
  label_of = _labels(path)
  splits = {}
  for split, official in _SPLITS.items():
    source = _path(args.annotations, official)
    splits[split] = [
      _row(f"{source}, entry {number}", entry, label_of, path)
      for number, entry in enumerate(files.read_json(source, list))
    ]
  classes = tuple(sorted(label_of, key=label_of.get))
  manifests.build(args, splits, classes, official=174)


def _path(root: str, kind: str) -> str:
  return files.annotation(
    root, f"{kind}.json", f"something-something-v2-{kind}.json"
  )


def _labels(path: str) -> dict[str, int]:
  """Class name -> label; the file's labels are strings of digits."""
  try:
    label_of = {
      name: int(label) for name, label in files.read_json(path, dict).items()
    }
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"{path}: labels must be whole numbers: {error}"
    ) from error
  if sorted(label_of.values()) != list(range(len(label_of))):
    raise errors.UserError(f"{path}: labels must be 0, 1, ... each once")
  return label_of


def _row(where: str, entry, label_of: dict[str, int], labels: str):
  if not isinstance(entry, dict) or not {"id", "template"} <= set(entry):
    raise errors.UserError(f"{where}: needs 'id' and 'template'")
  template = entry["template"].replace("[", "").replace("]", "")
  if template not in label_of:
    raise errors.UserError(
      f"{where}: template {template!r} is not a class of {labels}"
    )
  return manifests.Row(str(entry["id"]), label_of[template])
