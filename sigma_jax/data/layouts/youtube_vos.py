"""YouTube-VOS, video object segmentation.

--root holds train/ and, if it was downloaded, valid/, each with
JPEGImages/SEQUENCE/00000.jpg, Annotations/SEQUENCE/00000.png and meta.json.
OUT/train.jsonl and OUT/valid.jsonl are read with
sigma_jax.data.annotations.sequences.load.
"""

import os

from sigma_jax import errors, paths
from sigma_jax.data.layouts import arguments, files, manifests, segmentation


def add_arguments(parser) -> None:
  parser.add_argument(
    "--root",
    type=paths.argument,
    required=True,
    help="folder of train and valid",
  )
  arguments.add_out(parser)


def run(args) -> None:
  root = files.folder(args.root, "the folder train and perhaps valid")
  splits = {}
  for split in ("train", "valid"):
    part = os.path.join(root, split)
    if split == "valid" and not os.path.isdir(part):
      manifests.note(f"no folder {part}: no valid.jsonl is made")
      continue
    files.folder(part, "JPEGImages, Annotations and meta.json")
    path = os.path.join(part, "meta.json")
    videos = files.read_json(path, dict).get("videos")
    if not isinstance(videos, dict):
      raise errors.UserError(f"{path}: needs an object 'videos'")
    splits[split] = segmentation.read(
      os.path.join(part, "JPEGImages"),
      os.path.join(part, "Annotations"),
      sorted(videos),
    )
  segmentation.write(args.out, splits, root)
