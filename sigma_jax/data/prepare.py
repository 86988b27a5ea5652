"""Turns a manifest into records that are read several times as fast.

python -m sigma_jax.data.prepare --manifest data/k400/train.csv \\
    --out /data/k400_records/train

Then --config.data.train=/data/k400_records/train. Videos lose their sound,
frames larger than --short-side become as small as that, and each is stored as
a JPEG; frame i stays frame i. --manifest may also be a folder of videos or of
folders of frames, or tars; it, the videos and --out are local or gs://. A
label_sets.json beside the manifest is copied.

Interrupted, the same command goes on after the last complete shard and writes
the same bytes. Files that cannot be read are in OUT/rejected.jsonl, counts and
sizes in OUT/summary.json and on stdout; progress goes to stderr.

Exit code: 0 done; 1 more than --max-bad-share of the files cannot be read; 2
the input has to change; 130 interrupted.
"""

import argparse
import dataclasses
import functools
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
from sigma_jax.data.tars import names as tar_names
from sigma_jax.data.tars import source as tar_source
from sigma_jax.pieces import pieces
from sigma_jax.settings import reading_arguments
from sigma_jax.settings.data import AS_TOLD, Reading

_TIMEOUT = 600.0  # seconds for one file, all of it


def prepare(
  manifest_path: str,
  out: str,
  *,
  root: str = "",
  list_form: str = "",
  short_side: int = 256,
  quality: int = 85,
  workers: int = 0,
  max_bad_share: float = 0.02,
  tar_labels: str = "",
  how: pieces.How = pieces.HERE,
) -> dict:
  """Writes the records of a manifest; goes on where an earlier call stopped.

  Processes are spawned: call it under `if __name__ == "__main__":`.

  Args:
    manifest_path: videos and images, as for `sources.load`; without labels,
      records are for pre-training and features alone. Of a row that is a part
      of a video, its record holds that part.
    out: folder, made if missing.
    root: folder that relative paths are taken from; empty: the manifest's.
    list_form: `data.list_form`.
    short_side: larger frames are made as small as that, pixels; 0: none are.
    quality: of the JPEGs, 1 to 95.
    workers: processes; 0: one a core.
    max_bad_share: limit in [0, 1] on files that cannot be read.
    tar_labels: as `data.tar_labels`.
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
  rows = _rows(manifest_path, root, Reading(list_form, tar_labels))
  plan = Plan.of(rows, short_side, quality)
  jobs = [
    encode.Job(
      row,
      rows.files[row],
      int(label),
      short_side,
      quality,
      _TIMEOUT,
      rows.address(row),
      None if rows.parts is None else rows.parts[row],
    )
    for row, label in enumerate(rows.labels)
  ]
  shards = Shards(out, plan, jobs, rows.classes)
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


def _rows(
  path: str, root: str, reading: Reading = AS_TOLD
) -> manifest.Manifest:
  """A list with a class, by number or by name, in every row or in none.

  Where it has none, labels are -1.
  """
  in_tars = tar_names.are_meant(path)
  if storage.is_dir(path) and not storage.is_remote(path) and not in_tars:
    rows = class_folders.load(path)
  else:
    rows = _labelled(path, root, reading)
    if rows.form:
      print(rows.form, file=sys.stderr, flush=True)
  for name in (*rows.files, *rows.classes):
    if "\n" in name:
      raise errors.UserError(
        f"records cannot hold the name {name!r}, which has a line break in it; "
        "rename it"
      )
  return rows


def _labelled(path: str, root: str, reading: Reading) -> manifest.Manifest:
  if tar_names.are_meant(path):
    load = functools.partial(tar_source.load, tar_labels=reading.tar_labels)
  else:
    load = functools.partial(manifest.load, root=root, form=reading.list_form)
  rows = load(path, classes=False)
  if (rows.labels < 0).all():
    return rows
  try:
    return load(path)
  except errors.UserError as error:
    if not rows.classes or any(map(str.isdecimal, rows.classes)):
      raise  # some are numbers and others are not
    print(
      f"warning: records of this list have no labels, {error}: they are for "
      "pre-training and features, not for training or testing by class",
      file=sys.stderr,
      flush=True,
    )
  labels = np.full(len(rows), -1, np.int32)
  return dataclasses.replace(rows, labels=labels, classes=())


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
      list_form=args.list_form,
      tar_labels=args.tar_labels,
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
  parser = cli.parser("sigma_jax.data.prepare", __doc__)
  add = parser.add_argument
  add(
    "--manifest",
    type=paths.argument,
    required=True,
    help="list of 'path label' lines or of another form, docs/YOUR_DATA.md, a "
    "folder of videos, or tars",
  )
  add("--out", type=paths.argument, required=True, help="folder to write")
  reading_arguments.add(parser)
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
