"""Writes WORKDIR/report.html: `python -m sigma_jax.report WORKDIR`.

The page is one file without outside links. The results table is printed too.
"""

import dataclasses
import os
import sys
import time

from sigma_jax import cli, paths


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 written, 2 the input has to change (one line on stderr).
  """
  parser = cli.Parser(
    prog=cli.program("sigma_jax.report"), description=__doc__.splitlines()[0]
  )
  parser.add_argument(
    "workdir", type=paths.argument, help="of a pre-training run"
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
  args = parser.parse_args(argv)
  cli.hush_tensorflow()
  return cli.answer(lambda: print(write(args.workdir, args.val, args.root)))


def write(
  workdir: str | os.PathLike, val: str | None = None, root: str | None = None
) -> str:
  """Writes the page, whole or not at all; returns the text to print.

  Args:
    workdir: of a pre-training run.
    val: a manifest or records to take clips from; None: the run's data.val.
    root: folder that relative paths in it are taken from, "" for its own; None:
      the run's data.root.

  Raises:
    ValueError: no run in the workdir, or no clip of `val` can be read.
    OSError: it cannot be written to.
  """
  start = time.perf_counter()
  # Imported late: --help need not wait for JAX.
  from absl import logging
  from etils import epath

  from sigma_jax import compile_cache, errors, files
  from sigma_jax.evaluate import frozen
  from sigma_jax.report import gather, page, verdict

  logging.set_verbosity(logging.WARNING)
  compile_cache.use()
  workdir = epath.Path(workdir)
  run = gather.load(workdir)
  named = {"val": val, "root": root}
  named = {key: value for key, value in named.items() if value is not None}
  data = dataclasses.replace(run.settings.data, **named)
  text, problem = page.build(run, data)
  if problem and named:  # what somebody asked for in vain
    where = f" (relative paths from {data.root}; --root= names another folder)"
    raise errors.UserError(
      f"no clips to show from {data.val}{where if data.root else ''}: {problem}"
    )
  path = workdir / "report.html"
  # File names need not be UTF-8; the page is.
  content = text.encode(errors="backslashreplace")
  files.write_whole(path, content)
  rows = run.probe["rows"] if run.probe else []
  table = f"{frozen.table(rows)}\n" if rows else ""
  took = time.perf_counter() - start
  size = len(content) / 1e6
  note = f"warning: no clips are shown: {problem}\n" if problem else ""
  return (
    f"{table}{verdict.shows(rows)}\n{note}"
    f"{path}: {size:.2f} MB, written in {took:.0f} s"
  )


if __name__ == "__main__":
  sys.exit(main())
