"""Features of many videos, one vector a file: resumable.

python -m sigma_jax.features --init=runs/k400 --manifest=clips.csv \\
  --out=features.npz

`--init` is a workdir, a .pth or a transformers folder; `--manifest` a text file
of `path label` lines (any label, or none), prepared records, tars, or a folder
of videos or folders of frames, whose links are followed and whose class folders
become the labels;
`--out` ends in .npz or .parquet. Every file gives the mean token of its centred
clip (`pooled` of `encoder.VideoEncoder.encode`). Finished parts are kept in
OUT.parts until all are there, so a killed run goes on where it was. Unreadable
files are left out and listed in OUT.bad.jsonl.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil

import numpy as np

from sigma_jax import cli, compile_cache, errors, files, paths


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 done, 1 no file could be read, 2 the input has to change, 130
    interrupted: the same command resumes.
  """
  args = _parser().parse_args(argv)
  cli.hush_tensorflow()
  compile_cache.use()
  return cli.answer(
    lambda: extract(**vars(args)), "interrupted; the same command resumes"
  )


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
  parser.add_argument(
    "--tar-labels", default="", help="cls, txt or json:KEY of tars"
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
  tar_labels: str = "",
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
    tar_labels: as `data.tar_labels`.

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
  # Checked before the seconds that JAX takes to load.
  rows, labelled = _list(manifest, root, tar_labels)
  from sigma_jax.inference import encoder as encoder_lib

  encoder = encoder_lib.load(init)
  data = encoder.settings.data
  data = dataclasses.replace(data, stride=stride or data.stride)
  settings = dataclasses.replace(encoder.settings, data=data)
  parts = target.with_name(target.name + ".parts")
  _open_parts(parts, _job(encoder, rows, settings, part_size))
  _fill(parts, rows, encoder, settings, batch_size, part_size)
  merged = _merge(parts, rows, labelled)
  _write(target, merged)
  listed, last = parts / "bad_files.jsonl", f"{target.name}.bad.jsonl"
  if listed.exists() and listed.stat().st_size:
    listed.replace(target.with_name(last))
  else:  # an earlier run's tells nothing of this one
    target.with_name(last).unlink(missing_ok=True)
  shutil.rmtree(parts)
  missing = len(rows) - len(merged["row"])
  print(
    f"{len(merged['row'])} x {merged['features'].shape[1]} features in {out}"
    + (f"; {missing} unreadable, see {out}.bad.jsonl" if missing else ""),
    flush=True,
  )


def _list(path: str, root: str, tar_labels: str = ""):
  """The videos, and whether they have labels."""
  from sigma_jax.data import sources

  rows = sources.load(path, root, classes=False, tar_labels=tar_labels)
  return rows, bool((rows.labels >= 0).any())


def _job(encoder, rows, settings, part_size: int) -> dict:
  """What has to be equal for a killed run's parts to be used."""
  files = hashlib.sha256("\n".join(rows.files).encode(errors="surrogateescape"))
  return {
    "weights": encoder.fingerprint(),
    "files": files.hexdigest(),
    "settings": settings.fingerprint(),
    "part_size": part_size,
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


def _fill(parts, rows, encoder, settings, batch_size, part_size) -> None:
  """Computes the parts that are not there yet."""
  from sigma_jax.data import bad_files, sources

  # Every file gets its try: what is bad is listed, not fatal.
  bad = bad_files.BadFiles(str(parts), 1.0, rows.files)
  progress = cli.Progress("clips", len(rows))
  for first in range(0, len(rows), part_size):
    path = _part(parts, first, part_size)
    last = min(first + part_size, len(rows))
    # A video that was written anew since is another one.
    rows_key = sources.key_of_rows(rows, first, last)
    wanted, done = np.arange(first, last), None
    if path.exists() and _key_of(path) == rows_key:
      done = _load(path)  # what could not be read then is tried again
      wanted = np.setdiff1d(wanted, done["row"])
    progress.skip(last - first - len(wanted))
    if not len(wanted):
      continue
    arrays = _compute(
      rows, wanted, encoder, settings, batch_size, bad, progress
    )
    if done is not None:
      arrays = {k: np.concatenate([done[k], arrays[k]]) for k in arrays}
      order = np.argsort(arrays["row"])
      arrays = {k: array[order] for k, array in arrays.items()}
    arrays["key"] = np.array(rows_key)
    files.write_whole(path, files.npz(**arrays))
  bad.strike(lambda values: values[None])


def _key_of(path: pathlib.Path) -> str:
  with np.load(path) as arrays:
    return str(arrays["key"]) if "key" in arrays else ""


def _compute(
  rows, wanted, encoder, settings, batch_size, bad, progress
) -> dict[str, np.ndarray]:
  """Features and rows of those of some rows, int [k], that can be read."""
  from sigma_jax.data import pipeline, sources

  batches = pipeline.eval_batches(
    settings,
    sources.take(rows, wanted),
    batch_size=batch_size,
    on_bad=lambda row, path, why: bad.report(int(wanted[row]), path, why),
    on_tried=lambda row: bad.tried(int(wanted[row])),
  )
  features = [np.zeros((0, encoder.dim), np.float32)]
  found = [np.zeros(0, np.int64)]
  position = 0
  with batches:
    for batch in batches:
      valid = batch["valid"]
      if valid.any():
        pooled = np.asarray(encoder.encode(batch["video"]).pooled)
        features.append(pooled[valid])
        found.append(wanted[batch["index"][valid]])
      progress.bad = bad.num_bad
      progress.add(min(batch_size, len(wanted) - position))
      position += batch_size
  return {"features": np.concatenate(features), "row": np.concatenate(found)}


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path) as arrays:
    return dict(arrays)


def _part(parts: pathlib.Path, first: int, part_size: int) -> pathlib.Path:
  return parts / f"part-{first // part_size:06d}.npz"


def _merge(parts: pathlib.Path, rows, labelled: bool) -> dict[str, np.ndarray]:
  size = json.loads((parts / "job.json").read_text())["part_size"]
  count = math.ceil(len(rows) / size)
  loaded = [_load(_part(parts, i * size, size)) for i in range(count)]
  row = np.concatenate([part["row"] for part in loaded])
  if not len(row):
    raise errors.RunStopped(
      f"none of the {len(rows)} files could be read; see "
      f"{parts / 'bad_files.jsonl'}"
    )
  merged = {
    "features": np.concatenate([part["features"] for part in loaded]),
    "path": np.asarray([rows.files[i] for i in row], dtype=np.str_),
    "row": row,
  }
  if not labelled:
    return merged
  label = rows.labels[row]
  if names := getattr(rows, "classes", ()):
    label = np.asarray(names, np.str_)[label]
  return merged | {"label": label}


def _write(target: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  target.parent.mkdir(parents=True, exist_ok=True)
  if target.suffix == ".npz":
    files.write_whole(target, lambda file: np.savez(file, **arrays))
    return
  import pyarrow
  from pyarrow import parquet

  # File names need not be UTF-8; parquet's strings are.
  names = [
    p.encode("utf-8", "backslashreplace").decode() for p in arrays["path"]
  ]
  arrays, features = arrays | {"path": names}, arrays["features"]
  columns = {
    name: pyarrow.array(array)
    for name, array in arrays.items()
    if name != "features"
  }
  columns["features"] = pyarrow.FixedSizeListArray.from_arrays(
    pyarrow.array(features.reshape(-1)), features.shape[1]
  )
  table = pyarrow.table(columns)
  files.write_whole(target, lambda file: parquet.write_table(table, file))
