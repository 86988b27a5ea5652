"""ImageNet-1K (ILSVRC 2012).

Images: train/SYNSET/*.JPEG; val/SYNSET/*.JPEG, or a flat val of
ILSVRC2012_val_00000001.JPEG, whose classes then come from the development kit
(--devkit: data/meta.mat, data/ILSVRC2012_validation_ground_truth.txt) or from
Kaggle's LOC_val_solution.csv (--val-solution). Labels are places in the sorted
list of train's synsets; --devkit gives them names.
"""

import csv
import os

import scipy.io

from sigma_jax import errors, paths
from sigma_jax.data.layouts import arguments, files, manifests
from sigma_jax.data.layouts.manifests import Placed

_IMAGES = {"train": 1_281_167, "val": 50_000}


def add_arguments(parser) -> None:
  parser.add_argument(
    "--images",
    type=paths.argument,
    required=True,
    help="folder of train and val",
  )
  parser.add_argument(
    "--devkit", type=paths.argument, default="", help="ILSVRC2012_devkit_t12"
  )
  parser.add_argument(
    "--val-solution",
    type=paths.argument,
    default="",
    help="LOC_val_solution.csv",
  )
  arguments.add_out(parser)
  parser.add_argument(
    "--relative",
    action="store_true",
    help="write paths relative to --images, for data.root; else absolute",
  )


def run(args) -> None:
  root = files.folder(args.images, "the folders train and val")
  train, val = (
    files.folder(os.path.join(os.path.abspath(root), split), what)
    for split, what in (("train", "a folder a synset"), ("val", "images"))
  )
  synsets = _synsets(train)
  if not synsets:
    raise errors.UserError(
      f"{train!r} holds no folders; it needs one a synset, such as n01440764"
    )
  kit = _devkit(args.devkit) if args.devkit else None
  label_of = {synset: label for label, synset in enumerate(synsets)}
  splits = {"train": _in_folders(train, label_of)}
  if _synsets(val):
    splits["val"] = _in_folders(val, label_of)
  else:
    splits["val"] = _flat(val, _ground_truth(args, kit), label_of)
  for split, rows in splits.items():
    if len(rows) != _IMAGES[split]:
      manifests.note(
        f"{split}: {len(rows)} images; ILSVRC 2012 has {_IMAGES[split]}"
      )
  words = kit[1] if kit else {}
  manifests.write(
    args.out,
    splits,
    classes=tuple(words.get(synset, synset) for synset in synsets),
    base=args.images if args.relative else "",
    source=args.images,
  )


def _synsets(root: str) -> list[str]:
  with os.scandir(root) as entries:
    return sorted(entry.name for entry in entries if entry.is_dir())


def _in_folders(root: str, label_of: dict[str, int]) -> list[Placed]:
  rows = []
  for path in files.walk(root, files.IMAGES):
    synset = path.split(os.sep)[0]
    if synset not in label_of:
      raise errors.UserError(
        f"{os.path.join(root, path)!r} is in none of train's synsets"
      )
    rows.append(Placed(path, label_of[synset], os.path.join(root, path)))
  if not rows:
    raise errors.UserError(f"{root!r} holds no images")
  return rows


def _ground_truth(args, kit) -> dict[str, str]:
  """Validation image -> synset, of all official rows."""
  if args.val_solution:
    return _solution(args.val_solution)
  if kit is None:
    raise errors.UserError(
      f"{os.path.join(args.images, 'val')!r} has no folders of synsets: give "
      "--devkit or --val-solution for its classes"
    )
  synset_of, _ = kit
  path = os.path.join(
    args.devkit, "data", "ILSVRC2012_validation_ground_truth.txt"
  )
  truth = {}
  for where, line in files.lines(path):
    if not line.isdecimal() or int(line) not in synset_of:
      raise errors.UserError(
        f"{where}: {line!r} is no ILSVRC2012_ID of meta.mat"
      )
    truth[f"ILSVRC2012_val_{len(truth) + 1:08d}"] = synset_of[int(line)]
  return truth


def _solution(path: str) -> dict[str, str]:
  """Of `ImageId,PredictionString`, the latter a synset and its boxes."""
  try:
    with open(path, encoding="utf-8-sig", newline="") as file:
      return {
        row["ImageId"]: row["PredictionString"].split()[0]
        for row in csv.DictReader(file)
      }
  except OSError as error:
    raise errors.UserError(f"cannot read {path}: {error.strerror}") from error
  except (KeyError, IndexError, AttributeError) as error:
    raise errors.UserError(
      f"{path}: needs the columns ImageId and PredictionString, the latter "
      "beginning with a synset"
    ) from error


def _devkit(root: str) -> tuple[dict[int, str], dict[str, str]]:
  """ILSVRC2012_ID -> synset, and synset -> words."""
  path = os.path.join(root, "data", "meta.mat")
  try:
    rows = scipy.io.loadmat(path, squeeze_me=True)["synsets"]
    table = [(int(r[0]), str(r[1]), str(r[2])) for r in rows]
  except Exception as error:  # SciPy raises many kinds for a damaged file
    raise errors.UserError(
      f"--devkit {root!r}: cannot read data/meta.mat of ILSVRC2012_devkit_t12 "
      f"({error})"
    ) from error
  return {n: wnid for n, wnid, _ in table}, {w: words for _, w, words in table}


def _flat(root: str, truth: dict[str, str], label_of) -> list[Placed]:
  paths = {
    os.path.splitext(os.path.basename(path))[0]: os.path.join(root, path)
    for path in files.walk(root, files.IMAGES)
  }
  rows = []
  for name, synset in truth.items():
    if synset not in label_of:
      raise errors.UserError(
        f"{name} is of synset {synset!r}, for which train has no folder"
      )
    rows.append(Placed(name, label_of[synset], paths.get(name)))
  return rows
