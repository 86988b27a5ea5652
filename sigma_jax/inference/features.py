"""Features of many videos, one vector a file: resumable.

python -m sigma_jax.features --init=runs/k400 --manifest=clips.csv \\
  --out=features.npz

`--init` is a workdir, a .pth or a transformers folder; `--manifest` a list of
`path label` lines (any label, or none) or of another form (docs/YOUR_DATA.md),
prepared records, tars, or a folder of videos or folders of frames, whose links
are followed and whose class folders become the labels;
`--out` ends in .npz or .parquet. Every file gives the mean token of its centred
clip (`pooled` of `encoder.VideoEncoder.encode`). Finished parts are kept in
OUT.parts until all are there, so a killed run goes on where it was; calls with
--only leave it there, to be removed by --merge. Unreadable files are left out
and listed in OUT.bad.jsonl.

With `--every=SECONDS`, features of long videos over time: a window of frames
begins every so many seconds and gives a vector, with the times of its first and
last frame. `--out` is a folder, for an .npz a video, or ends in .parquet.
"""

import argparse
import pathlib
import shutil

from sigma_jax import cli, compile_cache, errors, files, paths
from sigma_jax.inference import features_file, features_parts
from sigma_jax.pieces import pieces
from sigma_jax.settings import reading_arguments
from sigma_jax.settings.data import Reading


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 done, 1 no file could be read, 2 the input has to change, 130
    interrupted: the same command resumes.
  """
  args = _parser().parse_args(argv)
  cli.hush_tensorflow()
  compile_cache.use()
  return cli.answer(lambda: _run(args), "interrupted; the same command resumes")


def _run(args: argparse.Namespace) -> None:
  how = pieces.how(args)
  lists = {
    "root": args.root,
    "list_form": args.list_form,
    "tar_labels": args.tar_labels,
  }
  steps = {
    "batch_size": args.batch_size,
    "part_size": args.part_size,
    "stride": args.stride,
  }
  where = args.init, args.manifest, args.out
  if args.every:
    from sigma_jax.inference import over_time

    job = over_time.Job(args.every, args.window, **steps)
    return over_time.extract(*where, job, **lists, how=how)
  if args.window:
    raise errors.UserError("--window is for windows over time: give --every")
  return extract(*where, **steps, **lists, how=how)


def _parser() -> argparse.ArgumentParser:
  parser = cli.parser("sigma_jax.features", __doc__)
  parser.add_argument("--init", type=paths.argument, required=True)
  parser.add_argument("--manifest", type=paths.argument, required=True)
  reading_arguments.add(parser)
  parser.add_argument("--out", type=paths.argument, required=True)
  parser.add_argument("--batch-size", type=int, default=16, help="clips")
  parser.add_argument("--part-size", type=int, default=1024, help="clips")
  parser.add_argument("--stride", type=int, default=0, help="frames; the run's")
  pieces.add_arguments(parser)
  parser.add_argument(
    "--every", type=float, default=0.0, help="seconds between two windows"
  )
  parser.add_argument(
    "--window", type=int, default=0, help="frames of one; num_frames x stride"
  )
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
  list_form: str = "",
  tar_labels: str = "",
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
    list_form, tar_labels: `data.list_form` and `data.tar_labels`.
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
  reading = Reading(list_form, tar_labels)
  given = features_parts.Given(
    init, manifest, root, reading, stride, batch_size, part_size, str(parts)
  )
  # Checked before the seconds that JAX takes to load.
  rows, labelled = features_parts.listed(given)
  if taken_for := getattr(rows, "form", ""):
    print(taken_for, flush=True)
  features_parts.opened.cache_clear()
  features_parts.claim(parts, features_parts.job_of(given))
  work = features_parts.work_of(given, rows)
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
  loaded = [features_parts.load(piece.job.path) for piece in work.pieces]
  merged = features_file.merge(loaded, rows, labelled, bad)
  features_file.write(target, merged)
  missing = len(rows) - len(merged["row"])
  print(
    f"{len(merged['row'])} x {merged['features'].shape[1]} features in {target}"
    + (f"; {missing} unreadable, see {bad}" if missing else ""),
    flush=True,
  )
