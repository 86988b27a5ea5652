"""Reads every file of some manifests and tells what is wrong with them.

python -m sigma_jax.data.check data/k400/train.csv data/k400/val.csv

For each manifest (or folder of videos, of frames or of prepared records, tars,
or list of sequences, .jsonl):
rows, codecs, picture sizes, frames, durations, classes, files that cannot be
read and why, rows and files that stand twice, files with several labels;
between manifests the files that are in both, by path or by content (size and
hash); and the time to read a clip. A video is one however its path is written
(./a.mp4, links), and labels may be class names or missing.

Every file is opened, a clip of 16 frames and the last frame are decoded; --full
decodes all. It runs in processes of its own: a file that crashes or hangs its
reader is a finding, and the check goes on. The report goes to stdout, progress
to stderr. What has been read stands in the folder --parts, where there is one:
the same command goes on from there, and --only and --ray need it.

Exit code: 0 nothing is wrong; 1 files cannot be read, have several labels, or
are in two of the manifests; 2 the input has to change.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import tempfile

import numpy as np

from sigma_jax import cli, errors, files, paths
from sigma_jax.data import list_tables, sources, storage
from sigma_jax.data.annotations import sequences
from sigma_jax.data.check import chunks, report
from sigma_jax.data.check import split as split_lib
from sigma_jax.data.check.file import Job
from sigma_jax.data.records import records
from sigma_jax.data.tars.source import Tars
from sigma_jax.pieces import pieces
from sigma_jax.settings import reading_arguments
from sigma_jax.settings.data import AS_TOLD, Reading

# Past a file's own timeout: what its reader may take to notice it.
_GRACE = 10.0
_HASH_LIMIT = 600.0  # seconds for one file's fingerprint


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  args = _parser().parse_args(argv)
  return cli.answer(lambda: _answer(args))


def _answer(args: argparse.Namespace) -> int:
  found = check(
    args.manifest,
    root=args.root,
    list_form=args.list_form,
    workers=args.workers,
    timeout=args.timeout,
    full=args.full,
    sample=args.sample,
    tar_labels=args.tar_labels,
    parts=args.parts,
    how=pieces.how(args),
  )
  if found is None:
    return 0
  print(json.dumps(found) if args.json else report.text(found))
  return 1 if found["problems"] else 0


def _parser() -> argparse.ArgumentParser:
  parser = cli.parser("sigma_jax.data.check", __doc__)
  parser.add_argument("manifest", type=paths.argument, nargs="+")
  reading_arguments.add(parser)
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument("--full", action="store_true", help="decode every frame")
  parser.add_argument(
    "--sample", type=int, default=0, help="only so many files, drawn at random"
  )
  parser.add_argument("--workers", type=int, default=0, help="0: one a core")
  parser.add_argument(
    "--timeout", type=float, default=60.0, help="seconds for one file"
  )
  parser.add_argument(
    "--parts",
    type=paths.argument,
    default="",
    help="folder that keeps what has been read",
  )
  pieces.add_arguments(parser)
  return parser


def check(
  paths: list[str],
  *,
  root: str = "",
  list_form: str = "",
  workers: int = 0,
  timeout: float = 60.0,
  full: bool = False,
  sample: int = 0,
  tar_labels: str = "",
  parts: str = "",
  how: pieces.How = pieces.HERE,
) -> dict | None:
  """Checks manifests; see `report.gather` for what it returns.

  Args:
    paths: manifests, folders of prepared records, lists of sequences.
    root: folder that relative paths of manifests are taken from; empty: the
      manifest's.
    list_form: `data.list_form`.
    workers: processes; 0: one a core.
    timeout: seconds for one file.
    full: whether every frame is decoded.
    sample: files to read, drawn at random, always the same; 0: all. Rows are
      counted and paths compared for all of them.
    tar_labels: as `data.tar_labels`.
    parts: folder for what has been read, made if missing; empty: none is kept.
    how: which files this call reads, and where.

  Returns:
    None where files are missing that other calls are to read.

  Raises:
    FileNotFoundError, UserError: a manifest is not there, or is none.
    ValueError: an option is out of range.
  """
  if workers < 0 or sample < 0 or timeout <= 0:
    raise ValueError("--workers, --sample and --timeout must not be negative")
  if len(set(map(os.path.realpath, paths))) < len(paths):
    raise errors.UserError("a manifest is given twice")
  if not parts and not (how.alone and how.ray is None):
    raise errors.UserError("--only, --merge and --ray need --parts, a folder")
  if parts:
    files.check_local(parts, "--parts")
  reading = Reading(list_form, tar_labels)
  splits = [_load(path, root, reading) for path in paths]
  jobs = {}
  for split in splits:
    jobs |= _jobs(split, timeout, full)
  names = list(jobs)
  if sample and sample < len(names):
    drawn = np.random.default_rng(0).choice(len(names), sample, replace=False)
    names = [names[place] for place in sorted(drawn)]
  workers = how.workers(workers)
  with contextlib.ExitStack() as stack:
    parts = parts or stack.enter_context(tempfile.TemporaryDirectory())
    pathlib.Path(parts).mkdir(parents=True, exist_ok=True)
    wanted, limit = {name: jobs[name] for name in names}, timeout + _GRACE
    found = chunks.ask("files", wanted, limit, parts, how, workers)
    if found is None:
      return None
    # Which these are is known once all are read: the last call does them.
    how = pieces.HERE if how.ray is None else how
    alike = {name: jobs[name] for name in _alike(found, jobs)}
    digests = chunks.ask(
      "fingerprints", alike, _HASH_LIMIT, parts, how, workers
    )
  return report.gather(splits, found, digests)


def _load(path: str, root: str, reading: Reading = AS_TOLD) -> split_lib.Split:
  if path.endswith(".jsonl") and not _is_list(path):
    videos = sequences.load(path)
    masks = {
      mask: frame
      for one in videos
      for mask, frame in zip(one.masks, one.frames, strict=True)
      if mask is not None
    }
    frames = tuple(frame for one in videos for frame in one.frames)
    return split_lib.Split(path, frames, None, masks)
  rows = sources.load(path, root, classes=False, reading=reading)
  names, labels = (), rows.labels
  if isinstance(rows, records.Records):
    names = tuple(f"{f} (row {r} of {path})" for r, f in enumerate(rows.files))
  if rows.classes:
    labels = np.array([*rows.classes, ""], object)[labels]
  in_tars = {}
  if isinstance(rows, Tars):
    in_tars = {file: rows.address(row) for row, file in enumerate(rows.files)}
  windows = getattr(rows, "parts", None)
  form = getattr(rows, "form", "").removeprefix(f"{path}: ")
  return split_lib.Split(
    path, rows.files, labels, {}, names, windows, form, in_tars
  )


def _is_list(path: str) -> bool:
  """Whether JSON lines are a list, and not sequences with masks."""
  return storage.is_file(path) and list_tables.are_rows(storage.read(path))


def _jobs(split, timeout: float, full: bool) -> dict[str, Job]:
  """What is to be read, by name."""
  if split.records:
    return {
      name: Job(split.path, timeout, full, row=row)
      for row, name in enumerate(split.records)
    }
  jobs = {}
  for row, (name, file) in enumerate(zip(split.read, split.files, strict=True)):
    window = split.parts and split.parts[row]
    address = split.in_tars.get(file, file)
    jobs[name] = Job(address, timeout, full, window=window)
  masks = {mask: Job(mask, timeout, full, True) for mask in split.masks}
  return jobs | masks


def _alike(found, jobs: dict[str, Job]) -> list[str]:
  """What is readable and looks like another one."""
  groups = collections.defaultdict(list)
  for name, finding in found.items():
    if not finding.reason and not jobs[name].is_mask:
      groups[finding.alike].append(name)
  return [n for group in groups.values() if len(group) > 1 for n in group]
