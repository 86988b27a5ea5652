"""The file of features: of parts, whole, as .npz or .parquet."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np

from sigma_jax import errors, files


def merge(
  loaded: Sequence[dict[str, np.ndarray]],
  rows,
  labelled: bool,
  bad: pathlib.Path,
) -> dict[str, np.ndarray]:
  """All parts in one; lists what was bad.

  Args:
    loaded: the parts, in order: `features`, `row`, `bad_row`, `bad_reason`.
    rows: the source that they are of.
    labelled: whether its labels are to be kept.
    bad: path of the list; nothing bad: it is not there.

  Raises:
    RunStopped: none of the files could be read.
  """
  _list_bad(loaded, rows, bad)
  row = np.concatenate([part["row"] for part in loaded])
  if not len(row):
    raise errors.RunStopped(
      f"none of the {len(rows)} files could be read; see {bad}"
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


def _list_bad(loaded, rows, path: pathlib.Path) -> None:
  """Each bad file once, in the rows' order."""
  bad = {
    rows.files[row]: str(reason)
    for part in loaded
    for row, reason in zip(part["bad_row"], part["bad_reason"], strict=True)
  }
  if bad:
    lines = [json.dumps({"file": f, "reason": bad[f]}) + "\n" for f in bad]
    files.write_whole(path, "".join(lines))
  else:  # an earlier run's tells nothing of this one
    path.unlink(missing_ok=True)


def write(target: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes arrays [n, ...] by name as .npz, or as columns of a .parquet."""
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
