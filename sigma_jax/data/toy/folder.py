"""What toy sets of videos share: a folder made once, and its command line.

DIR/videos/{train,val}/*.mp4, DIR/train.csv and DIR/val.csv with `path label` a
line, and DIR/toy.json, written last, which says what made it.
"""

import argparse
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import time
from collections.abc import Callable

import numpy as np

from sigma_jax import cli, files, freeze, paths
from sigma_jax.data.video import mp4

SPLITS = ("train", "val")
FPS = 8


@dataclasses.dataclass(frozen=True)
class Spec:
  """What a folder holds: clips of each split, drawn from a seed."""

  seed: int
  train: int
  val: int


def write(
  out: str | pathlib.Path,
  spec: Spec,
  version: int | str,
  make: Callable,
  finish: Callable,
  workers: int = 0,
) -> bool:
  """Makes a set; returns False if it was there already.

  Args:
    out: folder, made if missing.
    spec: of the set.
    version: of the code that draws it; no other kind of set has the same.
    make: called as make(out, seed, split, number) in other processes; writes
      what belongs to a clip and returns its label first, perhaps more.
    finish: called as finish(out, {split: [what make returned, ...]}) to write
      the lists beside the manifests.
    workers: processes; 0 means one a core.

  Raises:
    ValueError: the folder holds a complete toy set made otherwise.
  """
  out = pathlib.Path(out)
  done, wanted = out / "toy.json", dataclasses.asdict(spec)
  wanted["version"] = version
  if done.exists():
    found = json.loads(done.read_text())
    if found == wanted:
      return False
    raise ValueError(
      f"{out} holds another toy set, {found}, not {wanted}; delete it or "
      "choose another --out"
    )
  counts = {split: getattr(spec, split) for split in SPLITS}
  jobs = [(s, number) for s in SPLITS for number in range(counts[s])]
  # Spawned, not forked: the caller may have threads (JAX does).
  context = multiprocessing.get_context("spawn")
  with context.Pool(workers or os.cpu_count()) as pool:
    call = functools.partial(_make, make, out, spec.seed)
    made = pool.map(call, jobs, chunksize=64)
  rows = {"train": made[: spec.train], "val": made[spec.train :]}
  for split in SPLITS:
    lines = [
      f"{name('videos', split, number)}.mp4 {row[0]}\n"
      for number, row in enumerate(rows[split])
    ]
    files.write_whole(out / f"{split}.csv", "".join(lines))
  finish(out, rows)
  files.write_whole(done, json.dumps(wanted))
  return True


def _make(make: Callable, out: pathlib.Path, seed: int, job: tuple[str, int]):
  return make(out, seed, *job)


def name(folder: str, split: str, number: int) -> str:
  """Where in a set something of a clip lies, without its suffix."""
  return f"{folder}/{split}/{number:05d}"


def put_video(
  out: pathlib.Path, split: str, number: int, frames: np.ndarray
) -> None:
  """Writes a clip's video; frames as for mp4.encode."""
  path = out / (name("videos", split, number) + ".mp4")
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_whole(path, mp4.encode(frames, FPS))


def generator(seed: int, split: str, number: int) -> np.random.Generator:
  """A clip's own generator, a pure function of all three."""
  key = [seed, 2 * number + SPLITS.index(split)]
  return np.random.Generator(np.random.Philox(key=key))


def main(argv: list[str] | None, doc: str, usual: Spec, write: Callable) -> int:
  """The command line of a set; returns the exit code.

  Args:
    argv: arguments; None: those of the process.
    doc: of the module; its first line says what the command does.
    usual: what is made if nothing else is asked for.
    write: called as write(out, spec, workers).
  """
  parser = cli.Parser(description=doc.splitlines()[0])
  parser.add_argument(
    "--out", type=paths.argument, required=True, help="folder to write"
  )
  parser.add_argument("--seed", type=int, default=usual.seed)
  parser.add_argument("--train", type=int, default=usual.train, help="clips")
  parser.add_argument("--val", type=int, default=usual.val, help="clips")
  parser.add_argument("--workers", type=int, default=0, help="0: one a core")
  args = parser.parse_args(argv)
  return cli.answer(lambda: _answer(args, usual, write))


def _answer(args: argparse.Namespace, usual: Spec, write: Callable) -> None:
  start = time.perf_counter()
  freeze.seed("--seed", args.seed)
  spec = dataclasses.replace(
    usual, seed=args.seed, train=args.train, val=args.val
  )
  made = write(args.out, spec, args.workers)
  took = time.perf_counter() - start
  print(
    f"{args.train} + {args.val} clips written to {args.out} in {took:.0f} s"
    if made
    else f"{args.out} is complete already"
  )
