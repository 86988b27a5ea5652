"""UCF101.

Annotations (ucfTrainTestlist): classInd.txt with `1 ApplyEyeMakeup`,
trainlist01.txt with `Class/v_Class_g08_c01.avi 1`, testlist01.txt without
labels; splits 1 to 3. Videos: the same names, in any folders. The official test
list becomes val.csv. Labels are classInd's numbers less 1.
"""

import pathlib

from sigma_jax import errors
from sigma_jax.data.layouts import arguments, files, manifests, subsets


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of classInd.txt, trainlist01.txt, ...")
  parser.add_argument(
    "--split", type=int, choices=(1, 2, 3), default=1, help="default 1"
  )
  subsets.add_examples(parser)


def run(args) -> None:
  label_of = _classes(files.annotation(args.annotations, "classInd.txt"))
  splits = {
    split: _rows(
      files.annotation(args.annotations, f"{name}list{args.split:02d}.txt"),
      label_of,
    )
    for split, name in (("train", "train"), ("val", "test"))
  }
  splits["train"] = subsets.examples(splits["train"], args)
  # Lists say v_HandStandPushups_*, some copies of the videos Handstand.
  manifests.build(args, splits, tuple(label_of), official=101, fold_case=True)


def _classes(path: str) -> dict[str, int]:
  label_of = {}
  for where, line in files.lines(path):
    number, _, name = line.partition(" ")
    if number != str(len(label_of) + 1) or not name:
      raise errors.UserError(
        f"{where}: expected '{len(label_of) + 1} ClassName', got {line!r}"
      )
    label_of[name.strip()] = len(label_of)
  if not label_of:
    raise errors.UserError(f"{path} has no classes")
  return label_of


def _rows(path: str, label_of: dict[str, int]) -> list[manifests.Row]:
  rows = []
  for where, line in files.lines(path):
    name, *number = line.split()
    video = pathlib.PurePosixPath(name)
    label = label_of.get(video.parent.name)
    if label is None:
      raise errors.UserError(
        f"{where}: {line!r} has to start with 'Class/', one of classInd.txt"
      )
    if number and number != [str(label + 1)]:
      raise errors.UserError(
        f"{where}: class {video.parent.name} is {label + 1} in classInd.txt, "
        f"not {' '.join(number)}"
      )
    rows.append(manifests.Row(video.stem, label, (video.parent.name,)))
  return rows
