"""Features of many videos, one vector a file: resumable.

python -m sigma_jax.features --init=runs/k400 --manifest=clips.csv \\
  --out=features.npz

`--init` is a workdir, a .pth or a transformers folder; `--manifest` a text file
of `path label` lines (any label, or none), prepared records, or a folder of
videos, whose links are followed and whose class folders become the labels;
`--out` ends in .npz or .parquet. Every file gives the mean token of its centred
clip (`pooled` of `encoder.VideoEncoder.encode`). Finished parts are kept in
OUT.parts until all are there, so a killed run goes on where it was; calls with
--only leave it there, to be removed by --merge. Unreadable files are left out
and listed in OUT.bad.jsonl.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigma_jax import cli, compile_cache, errors, files, paths
from sigma_jax.inference import features_file
from sigma_jax.pieces import pieces


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 done, 1 no file could be read, 2 the input has to change, 130
    interrupted: the same command resumes.
  """
  args = _parser().parse_args(argv)
  cli.hush_tensorflow()
  compile_cache.use()

  def work() -> None:
    extract(
      args.init,
      args.manifest,
      args.out,
      batch_size=args.batch_size,
      part_size=args.part_size,
      stride=args.stride,
      root=args.root,
      how=pieces.how(args),
    )

  return cli.answer(work, "interrupted; the same command resumes")


def _parser() -> argparse.ArgumentParser:
  parser = cli.Parser(
    prog=cli.program("sigma_jax.features"),
    description=__doc__,
    formatter_class=cli.RAW,
  )
  parser.add_argument("--init", type=paths.argument, required=True)
  parser.add_argument("--manifest", type=paths.argument, required=True)
  parser.add_argument(
    "--root",
    type=paths.argument,
    default="",
    help="folder of relative paths; the manifest's",
  )
  parser.add_argument("--out", type=paths.argument, required=True)
  parser.add_argument("--batch-size", type=int, default=16, help="clips")
  parser.add_argument("--part-size", type=int, default=1024, help="clips")
  parser.add_argument("--stride", type=int, default=0, help="frames; the run's")
  pieces.add_arguments(parser)
  return parser


def extract(
  init: str,
  manifest: str,
  out: str,
  *,
  batch_size: int = 16,
  part_size: int = 1024,
  stride: int = 0,
  root: str = "",
  how: pieces.How = pieces.HERE,
) -> None:
  """Writes features, float32 [n, d], of all readable files.

  The .npz has `features`, `path`, `row` (of the manifest) and, where there are
  labels, `label` (integers, or names as in the manifest); the .parquet has
  columns of these names.

  Args:
    init, manifest, out: as the command line's.
    batch_size: clips a step.
    part_size: clips after which a part is stored.
    stride: frames between two frames of a clip; 0: the run's.
    root: folder that relative paths are taken from; empty: the manifest's.
    how: which parts this call computes, and where; the last of several writes
      the file.

  Raises:
    UserError, ValueError, OSError: the input has to change.
    RunStopped: none of the files could be read.
  """
  files.check_local(out, "--out")
  target = pathlib.Path(out)
  if target.suffix not in (".npz", ".parquet"):
    raise errors.UserError(f"--out must end in .npz or .parquet, got {out!r}")
  if batch_size <= 0 or part_size <= 0 or stride < 0:
    raise errors.UserError("sizes and --stride must not be negative")
  parts = target.with_name(target.name + ".parts")
  given = _Given(
    init, manifest, root, stride, batch_size, part_size, str(parts)
  )
  # Checked before the seconds that JAX takes to load.
  rows, labelled = _list(manifest, root)
  _opened.cache_clear()
  _open_parts(parts, _job(given))
  work = _work(given, rows)
  if not pieces.run(work, how):
    return
  _put_together(work, rows, labelled, target)
  if not how.only:  # whose other parts may be repeated
    shutil.rmtree(parts)


def _put_together(
  work: pieces.Work, rows, labelled: bool, target: pathlib.Path
) -> None:
  """Writes the file of all parts, and says so."""
  bad = target.with_name(target.name + ".bad.jsonl")
  loaded = [_load(piece.job.path) for piece in work.pieces]
  merged = features_file.merge(loaded, rows, labelled, bad)
  features_file.write(target, merged)
  missing = len(rows) - len(merged["row"])
  print(
    f"{len(merged['row'])} x {merged['features'].shape[1]} features in {target}"
    + (f"; {missing} unreadable, see {bad}" if missing else ""),
    flush=True,
  )


class _Given(NamedTuple):
  """What was asked for: all that a process needs to do a part."""

  init: str
  manifest: str
  root: str
  stride: int
  batch_size: int
  part_size: int
  parts: str


class _Part(NamedTuple):
  """Rows first .. last - 1."""

  given: _Given
  first: int
  last: int

  @property
  def path(self) -> pathlib.Path:
    number = self.first // self.given.part_size
    return pathlib.Path(self.given.parts, f"part-{number:06d}.npz")


def _list(path: str, root: str):
  """The videos, and whether they have labels."""
  from sigma_jax.data import sources

  rows = sources.load(path, root, classes=False)
  return rows, bool((rows.labels >= 0).any())


@functools.lru_cache(1)
def _opened(given: _Given):
  """The encoder, its settings and the rows: once a process."""
  from sigma_jax.inference import encoder as encoder_lib

  encoder = encoder_lib.load(given.init)
  data = encoder.settings.data
  data = dataclasses.replace(data, stride=given.stride or data.stride)
  settings = dataclasses.replace(encoder.settings, data=data)
  return encoder, settings, _list(given.manifest, given.root)[0]


def _job(given: _Given) -> dict:
  """What has to be equal for the parts of another call to be used."""
  encoder, settings, rows = _opened(given)
  files = hashlib.sha256("\n".join(rows.files).encode(errors="surrogateescape"))
  return {
    "weights": encoder.fingerprint(),
    "files": files.hexdigest(),
    "settings": settings.fingerprint(),
    "part_size": given.part_size,
  }


def _open_parts(parts: pathlib.Path, job: dict) -> None:
  note = parts / "job.json"
  if note.exists():
    if json.loads(note.read_text()) != job:
      raise errors.UserError(
        f"{parts} holds parts of another job (other weights, files, --stride "
        "or --part-size); remove it or choose another --out"
      )
    return
  parts.mkdir(parents=True, exist_ok=True)
  files.write_whole(note, json.dumps(job))


def _work(given: _Given, rows) -> pieces.Work:
  """The parts, each a piece."""
  from sigma_jax.data import sources

  size, count = given.part_size, len(rows)
  parts = [_Part(given, i, min(i + size, count)) for i in range(0, count, size)]
  # A video that was written anew since is another one.
  key = functools.cache(
    lambda part: sources.key_of_rows(rows, part.first, part.last)
  )
  work = [
    pieces.Piece(part.path.name, part, part.last - part.first) for part in parts
  ]
  return pieces.Work(
    "clips",
    work,
    _fill,
    lambda: {
      part.path.name
      for part in parts
      if part.path.exists() and _key_of(part.path) == key(part)
    },
    # What could not be read is tried again.
    left=lambda piece: piece.size - len(_load(piece.job.path)["row"]),
  )


def _fill(parts: Sequence[_Part], workers: int, tally: pieces.Tally) -> None:
  """Computes what is missing of some parts; in this process alone."""
  from sigma_jax.data import sources

  del workers  # threads read, and JAX takes all cores that it is given
  compile_cache.use()
  for part in parts:
    encoder, settings, rows = _opened(part.given)
    key = sources.key_of_rows(rows, part.first, part.last)
    wanted, done = np.arange(part.first, part.last), None
    if part.path.exists() and _key_of(part.path) == key:
      done = _load(part.path)
      wanted = np.setdiff1d(wanted, done["row"])
    if not len(wanted):
      continue  # another call has made it meanwhile
    arrays = _compute(
      rows, wanted, encoder, settings, part.given.batch_size, tally
    )
    if done is not None:
      for name in ("features", "row"):
        arrays[name] = np.concatenate([done[name], arrays[name]])
      order = np.argsort(arrays["row"])
      arrays |= {name: arrays[name][order] for name in ("features", "row")}
    files.write_whole(part.path, files.npz(**arrays, key=np.array(key)))


def _key_of(path: pathlib.Path) -> str:
  with np.load(path) as arrays:
    return str(arrays["key"]) if "key" in arrays else ""


def _compute(
  rows, wanted, encoder, settings, batch_size, tally
) -> dict[str, np.ndarray]:
  """Of some rows, int [k].

  Returns:
    `features` and `row` of those that can be read, `bad_row` and `bad_reason`
    of the others, both in order of the rows.
  """
  from sigma_jax.data import bad_files, pipeline, sources

  bad: dict[int, str] = {}

  def on_bad(row, path, reason):
    bad[int(wanted[row])] = reason
    bad_files.warn(len(bad), path, reason, f"{len(bad)} files are unreadable")

  batches = pipeline.eval_batches(
    settings,
    sources.take(rows, wanted),
    batch_size=batch_size,
    on_bad=on_bad,
  )
  features = [np.zeros((0, encoder.dim), np.float32)]
  found = [np.zeros(0, np.int64)]
  position = told = 0
  with batches:
    for batch in batches:
      valid = batch["valid"]
      if valid.any():
        pooled = np.asarray(encoder.encode(batch["video"]).pooled)
        features.append(pooled[valid])
        found.append(wanted[batch["index"][valid]])
      # Dictionaries keep their order: these are new.
      new, told = list(bad)[told:], len(bad)
      tally.add(min(batch_size, len(wanted) - position), new)
      position += batch_size
  order = sorted(bad)
  return {
    "features": np.concatenate(features),
    "row": np.concatenate(found),
    "bad_row": np.array(order, np.int64),
    "bad_reason": np.array([bad[row] for row in order], np.str_),
  }


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path) as arrays:
    return dict(arrays)
