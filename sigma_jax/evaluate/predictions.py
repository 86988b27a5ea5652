"""What a model says of every clip of a split, part by part, resumable."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np

from sigma_jax import files
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import workdir as workdir_lib

PART_ROWS = 512  # whose predictions an interruption can cost


class Predictions(NamedTuple):
  """values: float32 [r, k, c], of r heads and k clips.

  rows, views: int32 [k], which row of the source a clip is of, and which of
  its views; in ascending order.
  """

  values: np.ndarray
  rows: np.ndarray
  views: np.ndarray


def collect(
  forward: Callable[[jax.Array], jax.Array],
  batches: Iterable[dict[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
) -> Predictions:
  """Runs a model over batches.

  Args:
    forward: uint8 [b, t, h, w, 3] -> float32 [r, b, c], on every device alike.
    batches: this process's {"video", "index", "view", "valid"}, see
      `data.pipeline.eval_batches`, in any order; rows that are not valid are
      dropped.
    mesh: devices; their number divides the global batch.

  Returns:
    Those of all processes, the same on each.
  """
  values, rows, views = [], [], []
  for batch in batches:
    names = ("video", "valid", "index", "view")
    placed = mesh_lib.put_batch({name: batch[name] for name in names}, mesh)
    found = np.asarray(forward(placed.pop("video")))
    # By way of the devices: processes do not know in what order the mesh has
    # their rows.
    marks = mesh_lib.everywhere(placed, mesh)
    valid, row, view = (marks[name] for name in names[1:])
    values.append(found[:, valid])
    rows.append(row[valid])
    views.append(view[valid])
  row, view = np.concatenate(rows), np.concatenate(views)
  order = np.lexsort((view, row))
  joined = np.concatenate(values, axis=1)[:, order]
  return Predictions(joined, row[order], view[order])


def in_parts(
  folder,
  identity,
  num_rows: int,
  compute: Callable[[np.ndarray, int], Predictions],
  say: Callable[[str], None] = lambda line: None,
  part_rows: int | None = None,
  identify: Callable[[int, int], str] = lambda first, last: "",
) -> Predictions:
  """All rows' predictions, taking those that an interrupted run has left.

  Rows that a part lacks, because their files could not be read, are tried
  again: the storage may have been away, and be back.

  Args:
    folder: for one file a part; on a run of several processes they share it.
    identity: JSON-able, what the predictions depend on; files that were made
      under another one are made again.
    num_rows: n.
    compute: (rows, before) -> predictions of some rows, int [k]; those below
      `before` have been tried already.
    say: told of progress.
    part_rows: rows of a part; None: PART_ROWS.
    identify: (first, last) -> what rows first .. last - 1 are. A manifest's
      name does not tell: it may list others today, or in another order.
  """
  folder = workdir_lib.path(folder)
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
  part_rows = part_rows or PART_ROWS
  parts = []
  for first in range(0, num_rows, part_rows):
    last = min(first + part_rows, num_rows)
    file = folder / f"{first:08d}.npz"
    key = _key([identity, first, last, identify(first, last)])
    part = _read(file, key)
    # One process without the file makes all of them compute it together.
    if not np.all(mesh_lib.gather(np.array([part is not None]))):
      part, new = compute(np.arange(first, last), first), True
    else:
      part, new = _tried_again(part, first, last, compute, say)
    if new and jax.process_index() == 0:
      _write(file, key, part)
    parts.append(part)
    say(f"{last}/{num_rows} videos")
  whole = _joined(parts)
  missing = num_rows - len(np.unique(whole.rows))
  if missing:
    say(f"{missing} of {num_rows} videos cannot be read and do not count")
  return whole


def _tried_again(
  part: Predictions, first: int, last: int, compute, say
) -> tuple[Predictions, bool]:
  """A part with the rows that could not be read before; whether any came."""
  missing = np.setdiff1d(np.arange(first, last), part.rows)
  if not len(missing):
    return part, False
  more = compute(missing, last)
  came = len(np.unique(more.rows))
  if not came:
    return part, False
  say(f"{came} of {len(missing)} videos that could not be read before are read")
  return _joined([part, more]), True


def _joined(parts: list[Predictions]) -> Predictions:
  """Parts as one, in ascending order of rows and views."""
  rows = np.concatenate([part.rows for part in parts])
  views = np.concatenate([part.views for part in parts])
  order = np.lexsort((views, rows))
  values = np.concatenate([part.values for part in parts], axis=1)
  return Predictions(values[:, order], rows[order], views[order])


def _key(identity) -> str:
  """Hex digits of the first process: files may have been copied to others."""
  own = hashlib.sha256(json.dumps(identity).encode()).digest()
  gathered = mesh_lib.gather(np.frombuffer(own, np.uint8)[None])
  return gathered[0].tobytes().hex()


def _write(file, key: str, part: Predictions) -> None:
  files.write_whole(file, files.npz(key=np.array(key), **part._asdict()))


def _read(file, key: str) -> Predictions | None:
  """The part, if it is there and was made of the same."""
  if not file.exists():
    return None
  try:
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
      if str(found["key"]) != key:
        return None
      return Predictions(*(found[name] for name in Predictions._fields))
  except Exception:  # damaged, in one of NumPy's ways: computed again
    return None
