"""Turns a manifest into records that are read several times as fast.

python -m sigma_jax.data.prepare --manifest data/k400/train.csv \\
    --out /data/k400_records/train

Then --config.data.train=/data/k400_records/train. Videos lose their sound,
frames larger than --short-side become as small as that, and each is stored as
a JPEG; frame i stays frame i. Manifest, videos and --out are local or gs://. A
label_sets.json beside the manifest is copied.

Interrupted, the same command goes on after the last complete shard and writes
the same bytes. Files that cannot be read are in OUT/rejected.jsonl, counts and
sizes in OUT/summary.json and on stdout; progress goes to stderr.

Exit code: 0 done; 1 more than --max-bad-share of the files cannot be read; 2
the input has to change; 130 interrupted.
"""

import argparse
import dataclasses
import json
import os
import sys
import time

import numpy as np
from absl import logging

from sigma_jax import cli, errors, paths
from sigma_jax.data import class_folders, manifest, storage
from sigma_jax.data.records import encode, shard
from sigma_jax.data.records.shards import Plan, Shards
from sigma_jax.pieces import pieces

_TIMEOUT = 600.0  # seconds for one file, all of it


def prepare(
  manifest_path: str,
  out: str,
  *,
  root: str = "",
  short_side: int = 256,
  quality: int = 85,
  workers: int = 0,
  max_bad_share: float = 0.02,
  how: pieces.How = pieces.HERE,
) -> dict:
  """Writes the records of a manifest; goes on where an earlier call stopped.

  Processes are spawned: call it under `if __name__ == "__main__":`.

  Args:
    manifest_path: videos and images, as for `manifest.load`; without class
      indices, records are for pre-training and features alone.
    out: folder, made if missing.
    root: folder that relative paths are taken from; empty: the manifest's.
    short_side: larger frames are made as small as that, pixels; 0: none are.
    quality: of the JPEGs, 1 to 95.
    workers: processes; 0: one a core.
    max_bad_share: limit in [0, 1] on files that cannot be read.
    how: which shards this call makes, and where; the last call of several
      makes the folder whole.

  Returns:
    The summary: `videos`, `frames`, `seconds`, `bytes`, `shards`, `rejected`,
    and `took`, the seconds that this call worked; empty where shards of other
    calls are missing.

  Raises:
    FileNotFoundError, UserError: the manifest or `out` is not usable.
    RunStopped: too many files cannot be read.
  """
  start = time.monotonic()
  rows = _rows(manifest_path, root)
  plan = Plan.of(rows, short_side, quality)
  jobs = [
    encode.Job(row, file, int(label), short_side, quality, _TIMEOUT)
    for row, (file, label) in enumerate(
      zip(rows.files, rows.labels, strict=True)
    )
  ]
  shards = Shards(out, plan, jobs)
  if not shards.complete:
    _make(shards, len(rows), how, how.workers(workers), max_bad_share)
  if not shards.complete:
    return {}
  _keep_label_sets(manifest_path, out)
  return shards.summary() | {"took": round(time.monotonic() - start, 1)}


def _keep_label_sets(manifest_path: str, out: str) -> None:
  """Copies the file beside the manifest: it tells that they are these rows'."""
  here = os.path.join(os.path.dirname(manifest_path), manifest.LABEL_SETS)
  if storage.is_file(here) and not storage.is_dir(manifest_path):
    storage.write(os.path.join(out, manifest.LABEL_SETS), storage.read(here))


def _rows(path: str, root: str) -> manifest.Manifest:
  """A manifest of class indices, or of none at all: those of its labels -1."""
  folder = storage.is_dir(path) and not storage.is_remote(path)
  if folder:
    rows = class_folders.load(path)
  else:
    rows = manifest.load(path, root, classes=False)
  for file in rows.files:
    if "\n" in file:
      raise errors.UserError(
        f"records cannot hold the file name {file!r}; rename the file"
      )
  by_name = folder or not any(map(str.isdecimal, rows.classes))
  if rows.classes and by_name:
    print(
      "warning: labels are names, which records do not hold: these are for "
      "pre-training and features, not for training or testing by class",
      file=sys.stderr,
      flush=True,
    )
    return dataclasses.replace(
      rows, labels=np.full(len(rows), -1, np.int32), classes=()
    )
  if rows.classes or len(set((rows.labels < 0).tolist())) > 1:
    # Some are indices and others are not: refused, with the line.
    return manifest.load(path, root)
  return rows


def _make(
  shards: Shards,
  total: int,
  how: pieces.How,
  workers: int,
  max_bad_share: float,
) -> None:
  """Makes the shards that this call is for; the folder, once all are there."""
  shards.there()
  before = shards.rejected
  found: list[dict] = []

  def judge(bad: list[dict]) -> None:
    found[:] = bad
    _judge(shards.list, [*before, *bad], total, max_bad_share)

  work = pieces.Work("files", shards.pieces, shard.do, shards.there, judge)
  try:
    judge([])
    if pieces.run(work, how, workers) and not shards.complete:
      _judge(shards.list, shards.rejected, total, max_bad_share)
      shards.finish()
  except BaseException as error:
    if not shards.finished_elsewhere():
      shards.write_list([*before, *found])
      raise
    if not isinstance(error, FileNotFoundError):  # of the progress folder
      raise
    shards.complete = True


def _judge(where: str, bad: list[dict], total: int, max_share: float) -> None:
  if len(bad) > max_share * total:
    last = bad[-1]
    raise errors.RunStopped(
      f"{len(bad)} of the {total} files cannot be read, more than "
      f"--max-bad-share={max_share:g} allows; they are in {where}; "
      f"the last one: {last['file']}: {last['reason']}"
    )


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  args = _parser().parse_args(argv)
  # TensorFlow only writes the data set's description here.
  cli.hush_tensorflow()
  logging.set_verbosity(logging.ERROR)

  def work() -> None:
    summary = prepare(
      args.manifest,
      args.out,
      root=args.root,
      short_side=args.short_side,
      quality=args.quality,
      workers=args.workers,
      max_bad_share=args.max_bad_share,
      how=pieces.how(args),
    )
    if summary:
      print(json.dumps(summary))

  return cli.answer(work, "interrupted; the same command goes on from here")


def _parser() -> argparse.ArgumentParser:
  parser = cli.Parser(
    prog=cli.program("sigma_jax.data.prepare"),
    description=__doc__,
    formatter_class=cli.RAW,
  )
  add = parser.add_argument
  add(
    "--manifest",
    type=paths.argument,
    required=True,
    help="list of 'path label' lines, or a folder of videos",
  )
  add("--out", type=paths.argument, required=True, help="folder to write")
  add(
    "--root", type=paths.argument, default="", help="folder of relative paths"
  )
  add("--short-side", type=_whole(0, 1 << 15), default=256, help="pixels")
  add("--quality", type=_whole(1, 95), default=85, help="of the JPEGs")
  add("--workers", type=_whole(0, 1 << 15), default=0, help="0: one a core")
  add("--max-bad-share", type=_share, default=0.02, help="limit, 0 to 1")
  pieces.add_arguments(parser)
  return parser


def _whole(least: int, most: int):
  """A parser of whole numbers in a range."""

  def parse(text: str) -> int:
    number = int(text)
    if not least <= number <= most:
      raise argparse.ArgumentTypeError(f"{text} is not in {least} .. {most}")
    return number

  return parse


def _share(text: str) -> float:
  share = float(text)
  if not 0 <= share <= 1:
    raise argparse.ArgumentTypeError(f"{text} is not in 0 .. 1")
  return share


if __name__ == "__main__":
  sys.exit(main())
