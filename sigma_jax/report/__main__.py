"""Writes a run as one HTML page, or several runs on one page.

Of one run the page is WORKDIR/report.html, of several comparison.html in this
folder. It is one file without outside links; the results are printed too.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence

from sigma_jax import cli, paths

COMPARISON = "comparison.html"
_SECONDS = 30


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 written, 2 the input has to change (one line on stderr).
  """
  parser = cli.parser("sigma_jax.report", __doc__)
  _add_arguments(parser)
  args = parser.parse_args(argv)
  cli.hush_tensorflow()
  return cli.answer(lambda: _run(args))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "workdir",
    type=paths.argument,
    nargs="+",
    help="of a pre-training; of several, they are compared",
  )
  parser.add_argument(
    "--val",
    type=paths.argument,
    help="manifest of the clips shown; the run's data.val if not given",
  )
  parser.add_argument(
    "--root",
    type=paths.argument,
    help="folder that its relative paths are taken from, empty for its own; "
    "the run's data.root if not given",
  )
  parser.add_argument(
    "--out",
    type=paths.argument,
    help=f"the page of a comparison; {COMPARISON} if not given",
  )
  parser.add_argument(
    "--follow",
    type=int,
    nargs="?",
    const=_SECONDS,
    default=0,
    metavar="SECONDS",
    help="writes the page anew every so many seconds, until the runs are done "
    f"or Ctrl-C; {_SECONDS} if not given. Browsers load it again by themselves",
  )


def _run(args: argparse.Namespace) -> None:
  from sigma_jax import errors

  several = len(args.workdir) > 1
  if several and (args.val is not None or args.root is not None):
    raise errors.UserError("--val and --root are of one run's page alone")
  if not several and args.out is not None:
    raise errors.UserError(
      "--out is of a comparison: a run's page is WORKDIR/report.html"
    )
  if args.follow < 0:
    raise errors.UserError(f"--follow must be positive, got {args.follow}")
  out = args.out or COMPARISON

  def page(again: bool) -> str:
    refresh = args.follow if again else 0
    if several:
      return compare(args.workdir, out, refresh)
    return write(args.workdir[0], args.val, args.root, refresh)

  if not args.follow:
    print(page(False))
    return
  from sigma_jax.report import follow

  follow.follow(args.workdir, page, args.follow, _say)


def _say(text: str) -> None:
  print(text, flush=True)


def write(
  workdir: str | os.PathLike,
  val: str | None = None,
  root: str | None = None,
  refresh: int = 0,
) -> str:
  """Writes the page, whole or not at all; returns the text to print.

  Args:
    workdir: of a pre-training run.
    val: a manifest or records to take clips from; None: the run's data.val.
    root: folder that relative paths in it are taken from, "" for its own; None:
      the run's data.root.
    refresh: seconds after which browsers load the page again, which then has
      no pictures; 0: never.

  Raises:
    ValueError: no run in the workdir, or no clip of `val` can be read.
    OSError: it cannot be written to.
  """
  start = time.perf_counter()
  # Imported late: --help need not wait for JAX.
  from absl import logging
  from etils import epath

  from sigma_jax import compile_cache, errors
  from sigma_jax.evaluate import frozen
  from sigma_jax.report import gather, page, verdict

  logging.set_verbosity(logging.WARNING)
  compile_cache.use()
  workdir = epath.Path(workdir)
  run = gather.load(workdir)
  named = {"val": val, "root": root}
  named = {key: value for key, value in named.items() if value is not None}
  data = dataclasses.replace(run.settings.data, **named)
  text, problem = page.build(run, data, refresh)
  if problem and named:  # what somebody asked for in vain
    where = f" (relative paths from {data.root}; --root= names another folder)"
    raise errors.UserError(
      f"no clips to show from {data.val}{where if data.root else ''}: {problem}"
    )
  rows = run.probe["rows"] if run.probe else []
  table = f"{frozen.table(rows)}\n" if rows else ""
  note = f"warning: no clips are shown: {problem}\n" if problem else ""
  written = _written(workdir / "report.html", text, start)
  return f"{table}{verdict.shows(rows)}\n{note}{written}"


def compare(
  workdirs: Sequence[str | os.PathLike],
  out: str | os.PathLike = COMPARISON,
  refresh: int = 0,
) -> str:
  """Writes a page of several runs; returns the text to print.

  Args:
    workdirs: of pre-training runs.
    out: the page.
    refresh: as for `write`.

  Raises:
    ValueError: no run in one of them, or one is named twice.
    OSError: the page cannot be written.
  """
  start = time.perf_counter()
  from etils import epath

  from sigma_jax.report import compare as compare_lib
  from sigma_jax.report import gather

  names = compare_lib.names(workdirs)
  runs = dict(zip(names, map(gather.load, workdirs), strict=True))
  text = compare_lib.build(runs, os.path.dirname(out), refresh)
  return _written(epath.Path(out), text, start)


def _written(path, text: str, start: float) -> str:
  from sigma_jax import files

  # File names need not be UTF-8; the page is.
  content = text.encode(errors="backslashreplace")
  files.write_whole(path, content)
  took = time.perf_counter() - start
  return f"{path}: {len(content) / 1e6:.2f} MB, written in {took:.0f} s"


if __name__ == "__main__":
  sys.exit(main())
