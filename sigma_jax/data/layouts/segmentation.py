"""Official sequences of a segmentation data set -> lists."""

import os
import pathlib

from sigma_jax import errors
from sigma_jax.data.annotations import sequences
from sigma_jax.data.layouts import manifests


def read(
  frames: str, masks: str, names: list[str]
) -> tuple[tuple[sequences.Sequence, ...], list[str]]:
  """Sequences that are there, and the names of those that are not.

  Args:
    frames: folder of a folder of frames a sequence.
    masks: folder of a folder of masks a sequence.
    names: the official ones.

  Raises:
    UserError: none is there, or one is damaged.
  """
  there = [name for name in names if os.path.isdir(os.path.join(frames, name))]
  if not there:
    first = f"; the first one is {names[0]!r}" if names else ""
    raise errors.UserError(
      f"none of the {len(names)} official sequences is a folder of {frames!r}"
      f"{first}"
    )
  absent = sorted(set(names) - set(there))
  return sequences.in_folders(frames, masks, there), absent


def write(out: str, splits: dict[str, tuple], root: str) -> None:
  """Writes OUT/SPLIT.jsonl and missing.txt, and says so.

  Args:
    out: folder, made if missing.
    splits: what `read` gave, by split.
    root: where they were looked for, for messages.
  """
  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  absent = []
  for split, (found, gone) in splits.items():
    path = folder / f"{split}.jsonl"
    sequences.save(str(path), found)
    masks = sum(mask is not None for one in found for mask in one.masks)
    print(
      f"{split}: {len(found)} sequences, {sum(len(s.frames) for s in found)} "
      f"frames, {masks} masks -> {path}",
      flush=True,
    )
    absent += [f"{split}\t{name}\n" for name in gone]
  total = sum(len(found) for found, _ in splits.values()) + len(absent)
  manifests.write_missing(folder / manifests.MISSING, absent, total, root)
