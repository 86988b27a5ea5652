"""Gives the toy set several labels a video, as Charades has them.

python -m sigma_jax.data.toy.multilabel --toy data/toy --out data/toy_multilabel

Writes OUT/train.csv and OUT/val.csv, whose labels are rows of
OUT/train_labels.npz and OUT/val_labels.npz (see data/annotations/multilabel).
The classes are those of all label sets of the toy set; a video has one of each
set, from its beginning to its end. The videos stay where they are.
"""

import argparse
import os
import pathlib
import sys

from sigma_jax import cli, errors, files, paths
from sigma_jax.data import manifest
from sigma_jax.data.annotations import multilabel
from sigma_jax.data.toy import folder, render

_SECONDS = render.NUM_FRAMES / folder.FPS


def write(toy: str, out: str) -> None:
  """Writes manifests and labels of a toy set's videos.

  Args:
    toy: folder of the toy set.
    out: folder, made if missing; not the same one.

  Raises:
    FileNotFoundError, UserError: toy is no such folder, or out is the same.
    OSError: it cannot be written.
  """
  if os.path.realpath(toy) == os.path.realpath(out):
    raise errors.UserError(
      f"--out {out} is the toy set itself, whose manifests would be lost; "
      "choose another folder"
    )
  pathlib.Path(out).mkdir(parents=True, exist_ok=True)
  for split in folder.SPLITS:
    rows = manifest.load(os.path.join(toy, f"{split}.csv"))
    labels, classes = manifest.load_label_sets(
      os.path.join(toy, "label_sets.json"), rows
    )
    spans, names = [], []
    for label_set, of_row in labels.items():
      spans += [
        (row, len(names) + int(label), 0.0, _SECONDS)
        for row, label in enumerate(of_row)
      ]
      names += classes[label_set]
    stems = [pathlib.PurePath(file).stem for file in rows.files]
    multilabel.save(
      os.path.join(out, f"{split}_labels.npz"), stems, spans, names
    )
    lines = [
      f"{os.path.relpath(file, out)}\t{row}\n"
      for row, file in enumerate(rows.files)
    ]
    files.write_whole(os.path.join(out, f"{split}.csv"), "".join(lines))


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  parser = cli.Parser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--toy", type=paths.argument, required=True, help="folder of the toy set"
  )
  parser.add_argument(
    "--out", type=paths.argument, required=True, help="folder to write"
  )
  args = parser.parse_args(argv)
  return cli.answer(lambda: _answer(args))


def _answer(args: argparse.Namespace) -> None:
  write(args.toy, args.out)
  print(f"manifests and labels written to {args.out}")


if __name__ == "__main__":
  sys.exit(main())
