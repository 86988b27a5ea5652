"""Writes the embedded toy data set: `python -m sigma_jax.data.toy --out DIR`.

H.264 mp4 files and manifests in the layout of a real data set, so that the toy
run goes through the same reading, decoding and cropping as Kinetics would:

  DIR/train.csv, DIR/val.csv   `path label` a line
  DIR/label_sets.json          label -> appearance class and motion class
  DIR/videos/{train,val}/*.mp4
  DIR/masks/{train,val}/*.png  the object's mask, frames stacked downwards
  DIR/toy.json                 what made it; written last

Every clip is a pure function of the seed, its split and its number; so is its
file, but for what `mp4.encode` says.
"""

import argparse
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import sys
import time

import numpy as np
from PIL import Image

from sigma_jax.data import mp4, toy_render

SPLITS = ("train", "val")
_VAL_SHARE = 0.2  # of the scans are drawn in validation clips only
_FPS = 8
_VERSION = 1  # raise it when the drawing changes: old folders are then stale


@dataclasses.dataclass(frozen=True)
class Spec:
  """What a toy folder holds."""

  seed: int = 0
  train: int = 6000
  val: int = 1500

  def describe(self) -> dict[str, int]:
    """As stored in toy.json."""
    return dataclasses.asdict(self) | {"version": _VERSION}


def write(out: str | pathlib.Path, spec: Spec, workers: int = 0) -> bool:
  """Writes the data set; returns False if it was there already.

  Args:
    out: folder, made if missing.
    spec: seed and number of clips.
    workers: processes; 0 means one a core.

  Raises:
    ValueError: the folder holds a complete toy set made otherwise.
  """
  out = pathlib.Path(out)
  done = out / "toy.json"
  if done.exists():
    found = json.loads(done.read_text())
    if found == spec.describe():
      return False
    raise ValueError(
      f"{out} holds another toy set, {found}, not {spec.describe()}; delete "
      "it or choose another --out"
    )
  jobs = []
  for split in SPLITS:
    (out / "videos" / split).mkdir(parents=True, exist_ok=True)
    (out / "masks" / split).mkdir(parents=True, exist_ok=True)
    jobs += [(split, number) for number in range(getattr(spec, split))]
  # Spawned, not forked: the caller may have threads (JAX does).
  context = multiprocessing.get_context("spawn")
  with context.Pool(workers or os.cpu_count()) as pool:
    make = functools.partial(_write_clip, str(out), spec.seed)
    labels = pool.map(make, jobs, chunksize=64)
  lines = {split: [] for split in SPLITS}
  for (split, number), label in zip(jobs, labels, strict=True):
    lines[split].append(f"{_name('videos', split, number)}.mp4 {label}\n")
  for split in SPLITS:
    (out / f"{split}.csv").write_text("".join(lines[split]))
  (out / "label_sets.json").write_text(json.dumps(label_sets(), indent=1))
  done.write_text(json.dumps(spec.describe()))
  return True


def label_sets() -> dict[str, dict[str, list]]:
  """Two classes of each label, which is appearance * len(MOTIONS) + motion."""
  pairs = [
    (a, m)
    for a in range(len(toy_render.APPEARANCES))
    for m in range(len(toy_render.MOTIONS))
  ]
  return {
    "appearance": {
      "names": list(toy_render.APPEARANCES),
      "of_label": [a for a, _ in pairs],
    },
    "motion": {
      "names": list(toy_render.MOTIONS),
      "of_label": [m for _, m in pairs],
    },
  }


def _name(folder: str, split: str, number: int) -> str:
  return f"{folder}/{split}/{number:05d}"


@functools.cache
def _sprites(seed: int) -> dict[str, list[np.ndarray]]:
  """Enlarged scans by split and appearance class, disjoint between splits."""
  sprites, classes = toy_render.load_sprites()
  order = np.random.default_rng(seed).permutation(len(sprites))
  cut = int(_VAL_SHARE * len(order))
  of_split = {"val": order[:cut], "train": order[cut:]}
  return {
    split: [
      sprites[rows[classes[rows] == c]]
      for c in range(len(toy_render.APPEARANCES))
    ]
    for split, rows in of_split.items()
  }


def draw_clip(
  seed: int, split: str, number: int
) -> tuple[toy_render.Clip, int]:
  """The clip of that number and its label; a pure function of all three."""
  key = [seed, 2 * number + SPLITS.index(split)]
  rng = np.random.Generator(np.random.Philox(key=key))
  appearance = int(rng.integers(len(toy_render.APPEARANCES)))
  motion = int(rng.integers(len(toy_render.MOTIONS)))
  scans = _sprites(seed)[split][appearance]
  clip = toy_render.draw(rng, scans[rng.integers(len(scans))], motion)
  return clip, appearance * len(toy_render.MOTIONS) + motion


def _write_clip(out: str, seed: int, job: tuple[str, int]) -> int:
  """Draws and writes one clip and its mask; returns its label."""
  clip, label = draw_clip(seed, *job)
  video = pathlib.Path(out, _name("videos", *job) + ".mp4")
  video.write_bytes(mp4.encode(clip.frames, _FPS))
  strip = clip.mask.reshape(-1, clip.mask.shape[-1])
  mask_path = os.path.join(out, _name("masks", *job) + ".png")
  Image.fromarray(strip).save(mask_path)
  return label


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  spec = Spec()
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, help="folder to write")
  parser.add_argument("--seed", type=int, default=spec.seed)
  parser.add_argument("--train", type=int, default=spec.train, help="clips")
  parser.add_argument("--val", type=int, default=spec.val, help="clips")
  parser.add_argument("--workers", type=int, default=0, help="0: one a core")
  args = parser.parse_args(argv)
  start = time.perf_counter()
  try:
    made = write(args.out, Spec(args.seed, args.train, args.val), args.workers)
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  took = time.perf_counter() - start
  print(
    f"{args.train} + {args.val} clips written to {args.out} in {took:.0f} s"
    if made
    else f"{args.out} is complete already"
  )
  return 0


if __name__ == "__main__":
  sys.exit(main())
