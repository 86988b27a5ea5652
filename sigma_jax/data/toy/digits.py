"""Writes the embedded toy data set: `python -m sigma_jax.data.toy --out DIR`.

H.264 mp4 files and manifests in the layout of a real data set, so that the toy
run goes through the same reading, decoding and cropping as Kinetics would:

  DIR/train.csv, DIR/val.csv   `path label` a line
  DIR/label_sets.json          label -> appearance class and motion class
  DIR/videos/{train,val}/*.mp4
  DIR/masks/{train,val}/*.png  the object's mask, frames stacked downwards
  DIR/toy.json                 what made it; written last

Every clip and its file are a pure function of the seed, its split and its
number.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np
from PIL import Image

from sigma_jax import files
from sigma_jax.data.toy import folder, render

_VAL_SHARE = 0.2  # of the scans are drawn in validation clips only
_VERSION = 2  # raise it when files change: old folders are then stale


@dataclasses.dataclass(frozen=True)
class Spec(folder.Spec):
  """What a toy folder holds."""

  seed: int = 0
  train: int = 6000
  val: int = 1500


def write(out: str | pathlib.Path, spec: Spec, workers: int = 0) -> bool:
  """Writes the data set; returns False if it was there already.

  Args:
    out: folder, made if missing.
    spec: seed and number of clips.
    workers: processes; 0 means one a core.

  Raises:
    ValueError: the folder holds a complete toy set made otherwise.
  """
  return folder.write(out, spec, _VERSION, _make, _finish, workers)


def label_sets() -> dict[str, dict[str, list]]:
  """Two classes of each label, which is appearance * len(MOTIONS) + motion."""
  pairs = [
    (a, m)
    for a in range(len(render.APPEARANCES))
    for m in range(len(render.MOTIONS))
  ]
  return {
    "appearance": {
      "names": list(render.APPEARANCES),
      "of_label": [a for a, _ in pairs],
    },
    "motion": {
      "names": list(render.MOTIONS),
      "of_label": [m for _, m in pairs],
    },
  }


@functools.cache
def sprites(seed: int) -> dict[str, list[np.ndarray]]:
  """Enlarged scans by split and appearance class, disjoint between splits.

  Of each class float32 [k, 32, 32] in [0, 1].
  """
  scans, classes = render.load_sprites()
  order = np.random.default_rng(seed).permutation(len(scans))
  cut = int(_VAL_SHARE * len(order))
  of_split = {"val": order[:cut], "train": order[cut:]}
  return {
    split: [
      scans[rows[classes[rows] == c]] for c in range(len(render.APPEARANCES))
    ]
    for split, rows in of_split.items()
  }


def draw_clip(seed: int, split: str, number: int) -> tuple[render.Clip, int]:
  """The clip of that number and its label; a pure function of all three."""
  rng = folder.generator(seed, split, number)
  appearance = int(rng.integers(len(render.APPEARANCES)))
  motion = int(rng.integers(len(render.MOTIONS)))
  scans = sprites(seed)[split][appearance]
  sprite = scans[rng.integers(len(scans))]
  clip = render.draw(rng, [sprite], [motion])
  return clip, appearance * len(render.MOTIONS) + motion


def _make(out: pathlib.Path, seed: int, split: str, number: int) -> tuple[int]:
  """Draws and writes one clip and its mask; its label."""
  clip, label = draw_clip(seed, split, number)
  folder.put_video(out, split, number, clip.frames)
  strip = clip.ids.astype(bool).reshape(-1, clip.ids.shape[-1])
  path = out / (folder.name("masks", split, number) + ".png")
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_whole(path, lambda f: Image.fromarray(strip).save(f, "PNG"))
  return (label,)


def _finish(out: pathlib.Path, rows: dict[str, list]) -> None:
  text = json.dumps(label_sets(), indent=1)
  files.write_whole(out / "label_sets.json", text)


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  return folder.main(argv, __doc__, Spec(), write)
