"""Writes toy videos of repeated actions.

python -m sigma_jax.data.toy.repetitions --out data/toy_repetitions

  DIR/train.csv, DIR/val.csv   `path count` a line
  DIR/{train,val}_repetitions.jsonl   see data/annotations/repetitions.py
  DIR/videos/{train,val}/*.mp4
  DIR/toy.json                 what made it; written last

In each a digit of the toy set (digits.py) stands still, then swings, turns or
pulses 2 to 12 times, not quite evenly, then stands still. The resting frames
are outside of the annotated part. Every file is a pure function of the seed,
its split and its number.
"""

import dataclasses
import pathlib
import sys

import numpy as np

from sigma_jax.data.annotations import repetitions
from sigma_jax.data.annotations.repetitions import Repetitions
from sigma_jax.data.toy import digits, folder, render

ACTIONS = ("swing sideways", "swing up and down", "turn", "pulse")
SIZE = 32  # pixels, square
COUNTS = (2, 12)  # repetitions, both included
# Frames; drawn evenly of their logarithm. So wide that whoever counts by a
# video's length alone is off by half.
_PERIOD = (4.0, 32.0)
_REST = 12  # frames before and after, at most
# Of 1 the periods were 5 to 14 frames: length alone told how often.
_VERSION = "repetitions 2"


@dataclasses.dataclass(frozen=True)
class Spec(folder.Spec):
  """What a folder holds."""

  seed: int = 0
  train: int = 320
  val: int = 80


def write(out: str | pathlib.Path, spec: Spec, workers: int = 0) -> bool:
  """As toy.write."""
  return folder.write(out, spec, _VERSION, _make, _finish, workers)


def draw(seed: int, split: str, number: int) -> tuple[render.Clip, Repetitions]:
  """A clip, t frames of 32 x 32, and what repeats in it.

  A pure function of all three arguments.
  """
  rng = folder.generator(seed, split, number)
  count = int(rng.integers(COUNTS[0], COUNTS[1] + 1))
  period = np.exp(rng.uniform(*np.log(_PERIOD)))
  lengths = period * rng.uniform(0.85, 1.15, count)
  before, after = rng.integers(0, _REST + 1, 2).tolist()
  # From 1, as annotations count.
  bounds = before + 1 + np.cumsum([0, *np.rint(lengths).astype(int)])
  frames = np.arange(1, bounds[-1] + after + 1)
  passed = np.interp(frames, bounds, np.arange(count + 1))
  found = Repetitions(
    f"{number:05d}",
    count,
    *map(int, bounds[[0, -1]]),
    tuple(bounds.tolist()),
  )
  scans = np.concatenate(digits.sprites(seed)[split])
  sprite = scans[rng.integers(len(scans))]
  background = render.waves(rng, np.zeros((len(frames), 2), np.float32), SIZE)
  alpha = _act(rng, sprite, passed)
  return render.compose(rng, background, [alpha]), found


def _act(rng, sprite: np.ndarray, passed: np.ndarray) -> np.ndarray:
  """Opacity of the object after so many repetitions, float32 [t, h, w]."""
  action = ACTIONS[rng.integers(len(ACTIONS))]
  angle = 2 * np.pi * passed
  wave = np.sin(angle + rng.uniform(0, 2 * np.pi)) * rng.uniform(0.75, 1.25)
  centre = np.tile(rng.uniform(-2.0, 2.0, 2), (len(passed), 1))
  turn = np.full(len(passed), rng.uniform(-0.25, 0.25))
  size = np.full(len(passed), rng.uniform(17.0, 22.0))
  if action == "turn":
    turn += angle * rng.choice([-1, 1])
  elif action == "pulse":
    size *= np.exp(0.35 * wave)
  else:
    centre[:, int(action == "swing sideways")] += 5.0 * wave
  arrays = (a.astype(np.float32) for a in (centre, turn, size))
  return render.opacity(sprite, *arrays, SIZE)


def _make(
  out: pathlib.Path, seed: int, split: str, number: int
) -> tuple[int, Repetitions]:
  """Draws and writes one video; its count and annotation."""
  clip, found = draw(seed, split, number)
  folder.put_video(out, split, number, clip.frames)
  return found.count, found


def _finish(out: pathlib.Path, rows: dict[str, list]) -> None:
  for split, made in rows.items():
    repetitions.save(
      str(out / f"{split}_repetitions.jsonl"), [found for _, found in made]
    )


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  return folder.main(argv, __doc__, Spec(), write)


if __name__ == "__main__":
  sys.exit(main())
