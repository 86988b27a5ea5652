"""UCFRep: repetition counting in 526 videos of UCF101 (SEVERE's UCF-RC).

Annotations: the folders train and val of v_NAME.mat, whose struct `label` has
`temporal_bound` (the frames where repetitions begin and end, so one more than
repetitions), `start_frame` and `end_frame`; or, of any other source, train.csv
and val.csv with lines `NAME count`. Videos: those of UCF101. A manifest's
labels are counts; train_repetitions.jsonl and val_repetitions.jsonl hold the
frames as well: read them with sigma_jax.data.annotations.repetitions.load.
Videos with fewer than two repetitions are left out, as in the published code,
and listed.
"""

import pathlib

import scipy.io

from sigma_jax import errors
from sigma_jax.data import manifest
from sigma_jax.data.annotations import repetitions
from sigma_jax.data.layouts import arguments, files, manifests

_FIELDS = ("temporal_bound", "start_frame", "end_frame")


def add_arguments(parser) -> None:
  arguments.add_videos(
    parser, "folder of train/*.mat and val/*.mat, or of CSVs"
  )


def run(args) -> None:
  root = files.folder(args.annotations, "train/*.mat and val/*.mat, or CSVs")
  tables = {
    split: _read(pathlib.Path(root), split) for split in ("train", "val")
  }
  splits, short = {}, []
  for split, table in tables.items():
    # The published code: `len(bound_t) < 3` is skipped.
    short += [f"{split}\t{r.file}\n" for r in table if r.count < 2]
    kept = [r for r in table if r.count >= 2]
    splits[split] = [manifests.Row(r.file, r.count) for r in kept]
    tables[split] = kept
  manifests.build(args, splits, fold_case=True)
  out = pathlib.Path(args.out)
  for split, table in tables.items():
    repetitions.save(str(out / f"{split}_repetitions.jsonl"), table)
  if short:
    manifests.put(out / "left_out.txt", "".join(short))
    manifests.note(
      f"{len(short)} videos with fewer than two repetitions are left out; they "
      f"are listed in {out / 'left_out.txt'}"
    )


def _read(root: pathlib.Path, split: str) -> list[repetitions.Repetitions]:
  folder = root / split
  paths = sorted(folder.glob("*.mat")) if folder.is_dir() else []
  if paths:
    return [_read_mat(path) for path in paths]
  table = root / f"{split}.csv"
  if not table.is_file():
    raise errors.UserError(
      f"{str(root)!r} holds neither {split}/*.mat nor {split}.csv"
    )
  rows = manifest.load(str(table))
  return [
    repetitions.Repetitions(pathlib.PurePath(file).stem, int(count))
    for file, count in zip(rows.files, rows.labels, strict=True)
  ]


def _read_mat(path: pathlib.Path) -> repetitions.Repetitions:
  try:
    label = scipy.io.loadmat(str(path))["label"][0, 0]
    bounds, start, end = (label[field].ravel() for field in _FIELDS)
    bounds = tuple(int(frame) for frame in bounds)
    return repetitions.Repetitions(
      path.stem, max(len(bounds) - 1, 0), int(start[0]), int(end[0]), bounds
    )
  except Exception as error:  # SciPy raises many kinds for a damaged file
    raise errors.UserError(
      f"{path}: not an annotation of UCFRep: a struct 'label' with "
      f"{', '.join(_FIELDS)} ({' '.join(str(error).split())})"
    ) from error
