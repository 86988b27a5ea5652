"""Gym99, the 99 element classes of FineGym.

Annotations: gym99_train_element_v1.1.txt (or v1.0) and gym99_val_element.txt,
lines `A0xAXXysHUo_E_002184_002237_A_0035_0036 51`; gym99_categories.txt for the
names of classes, if it is there. Videos: one trimmed file a line, named by the
line's first word, such as A0xAXXysHUo_E_002184_002237_A_0035_0036.mp4.
"""

import re

from sigma_jax import errors
from sigma_jax.data.layouts import arguments, files, manifests, subsets

# SEVERE's action granularity tasks: FineGym's sets 21 and 41.
_SUBSETS = {"all": (0, 98), "fx-s1": (6, 16), "ub-s1": (74, 88)}
_CATEGORY = re.compile(
  r"Clabel:\s*(\d+);\s*set:\s*\d+;\s*Glabel:\s*\d+;\s*(.+)"
)
_VERSIONS = ("_v1.1", "_v1.0", "")


def add_arguments(parser) -> None:
  arguments.add_videos(parser, "folder of gym99_train_element_v1.1.txt, ...")
  parser.add_argument(
    "--subset",
    choices=tuple(_SUBSETS),
    default="all",
    help="fx-s1: labels 6-16, ub-s1: 74-88, renumbered from 0 (SEVERE)",
  )
  subsets.add_examples(parser)


def run(args) -> None:
  first, last = _SUBSETS[args.subset]
  splits = {}
  for split in ("train", "val"):
    names = [f"gym99_{split}_element{version}.txt" for version in _VERSIONS]
    rows = _rows(files.annotation(args.annotations, *names))
    splits[split] = subsets.label_range(rows, first, last)
  splits["train"] = subsets.examples(splits["train"], args)
  classes = _classes(args.annotations)[first : last + 1]
  manifests.build(args, splits, classes)


def _rows(path: str) -> list[manifests.Row]:
  rows = []
  for where, line in files.lines(path):
    name, *label = line.split()
    if len(label) != 1 or not label[0].isdecimal() or int(label[0]) > 98:
      raise errors.UserError(
        f"{where}: expected 'EVENT_ELEMENT LABEL' with a label from 0 to 98, "
        f"got {line!r}"
      )
    rows.append(manifests.Row(name, int(label[0])))
  return rows


def _classes(root: str) -> tuple[str, ...]:
  """Names of the 99 classes; their numbers where there is no list of them."""
  names = [str(label) for label in range(99)]
  path = files.optional_annotation(root, "gym99_categories.txt")
  if path is None:
    manifests.note(
      "no gym99_categories.txt: classes are named by their numbers"
    )
    return tuple(names)
  for where, line in files.lines(path):
    found = _CATEGORY.match(line)
    if found is None or int(found[1]) > 98:
      raise errors.UserError(
        f"{where}: expected 'Clabel: 0; set: 1; Glabel: 1; (VT) ...', got "
        f"{line!r}"
      )
    names[int(found[1])] = found[2].strip()
  return tuple(names)
