"""Writes WORKDIR/report.html: `python -m sigma_jax.report WORKDIR`.

The page is one file without outside links. The results table is printed too.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 written, 2 the input has to change (one line on stderr).
  """
  parser = argparse.ArgumentParser(
    prog="python -m sigma_jax.report", description=__doc__.splitlines()[0]
  )
  parser.add_argument("workdir", help="of a pre-training run")
  parser.add_argument(
    "--val", help="manifest of the clips shown; the run's data.val if not given"
  )
  args = parser.parse_args(argv)
  # TensorFlow only reads clips here: keep its start-up lines out.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  try:
    print(write(pathlib.Path(args.workdir), args.val))
  except (ValueError, OSError) as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2
  return 0


def write(workdir: pathlib.Path, val: str | None = None) -> str:
  """Writes the page, whole or not at all; returns the text to print.

  Args:
    workdir: of a pre-training run.
    val: a manifest to take clips from, its paths relative to its own folder;
      None: the run's data.val under its data.root.

  Raises:
    ValueError: no run in the workdir.
    OSError: it cannot be written to.
  """
  start = time.perf_counter()
  # Imported late: --help need not wait for JAX.
  from absl import logging

  from sigma_jax import compile_cache
  from sigma_jax.evaluate import frozen
  from sigma_jax.report import gather, page, verdict

  logging.set_verbosity(logging.WARNING)
  compile_cache.use()
  run = gather.load(workdir)
  data = run.settings.data
  if val is not None:
    data = dataclasses.replace(data, val=val, root="")
  text = page.build(run, data)
  path = workdir / "report.html"
  partial = path.with_suffix(".tmp")
  # File names need not be UTF-8; the page is.
  partial.write_text(text, encoding="utf-8", errors="backslashreplace")
  partial.replace(path)
  rows = run.probe["rows"] if run.probe else []
  table = f"{frozen.table(rows)}\n" if rows else ""
  took = time.perf_counter() - start
  size = path.stat().st_size / 1e6
  return (
    f"{table}{verdict.shows(rows)}\n"
    f"{path}: {size:.2f} MB, written in {took:.0f} s"
  )


if __name__ == "__main__":
  sys.exit(main())
