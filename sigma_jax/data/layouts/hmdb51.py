"""HMDB51.

Annotations (testTrainMulti_7030_splits): a file CLASS_test_split1.txt a class,
with lines `NAME.avi 1`: 1 is training, 2 test, 0 neither; splits 1 to 3.
Videos: the same names, in folders of the classes. The official test part
becomes val.csv. Labels are places in the sorted list of classes.
"""

import os
import pathlib

from sigma_jax import errors
from sigma_jax.data.layouts import arguments, files, manifests

_SPLIT_OF = {"0": None, "1": "train", "2": "val"}


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of CLASS_test_split1.txt, ...")
  parser.add_argument(
    "--split", type=int, choices=(1, 2, 3), default=1, help="default 1"
  )


def run(args) -> None:
  ending = f"_test_split{args.split}.txt"
  files.folder(args.annotations, f"the files CLASS{ending}")
  paths = {
    path.name.removesuffix(ending): str(path)
    for path in pathlib.Path(args.annotations).rglob(f"*{ending}")
  }
  if not paths:
    raise errors.UserError(f"no CLASS{ending} in {args.annotations!r}")
  splits = {"train": [], "val": []}
  classes = tuple(sorted(paths))
  for label, name in enumerate(classes):
    for where, line in files.lines(paths[name]):
      video, _, code = line.rpartition(" ")
      if not video or code not in _SPLIT_OF:
        raise errors.UserError(
          f"{where}: expected 'NAME.avi 0', 1 or 2, got {line!r}"
        )
      if split := _SPLIT_OF[code]:
        stem = os.path.splitext(video.strip())[0]
        splits[split].append(manifests.Row(stem, label, (name,)))
  manifests.build(args, splits, classes, official=51)
