"""DAVIS 2016 and 2017, video object segmentation.

--root holds JPEGImages/480p/SEQUENCE/00000.jpg,
Annotations/480p/SEQUENCE/00000.png and ImageSets/YEAR/train.txt and val.txt.
OUT/train.jsonl and OUT/val.jsonl are read with
sigma_jax.data.annotations.sequences.load.
"""

import os
import pathlib

from sigma_jax import paths
from sigma_jax.data.layouts import arguments, files, segmentation


def add_arguments(parser) -> None:
  parser.add_argument(
    "--root",
    type=paths.argument,
    required=True,
    help="folder of ImageSets, ...",
  )
  parser.add_argument(
    "--year", choices=("2016", "2017"), default="2017", help="default 2017"
  )
  arguments.add_out(parser)


def run(args) -> None:
  root = files.folder(args.root, "JPEGImages, Annotations and ImageSets")
  lists = os.path.join(root, "ImageSets", args.year)
  if args.year == "2016" and not os.path.isdir(lists):
    # The first release, which had no other year.
    lists = os.path.join(root, "ImageSets", "480p")
  splits = {}
  for split in ("train", "val"):
    path = files.annotation(lists, f"{split}.txt")
    # The first release's lists name an image and its mask a line.
    words = [line.split()[0] for _, line in files.lines(path)]
    names = [pathlib.PurePosixPath(word).parent.name or word for word in words]
    splits[split] = segmentation.read(
      os.path.join(root, "JPEGImages", "480p"),
      os.path.join(root, "Annotations", "480p"),
      list(dict.fromkeys(names)),
    )
  segmentation.write(args.out, splits, root)
