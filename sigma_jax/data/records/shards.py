"""The folder that prepare fills, shard by shard: a kill costs one of them."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence

from sigma_jax import errors
from sigma_jax.data import storage
from sigma_jax.data.manifest import Manifest
from sigma_jax.data.records import tfds_metadata
from sigma_jax.data.records.encode import Job
from sigma_jax.data.records.record_format import (
  INDEX,
  PLAN,
  REJECTED,
  SUMMARY,
  DamagedIndex,
  Index,
)
from sigma_jax.data.records.shard import PROGRESS, Shard
from sigma_jax.pieces.pieces import Piece

_ROWS = 128  # of a shard at most: 0.5 GB of 10 s videos, held in memory
_SHARDS = 64  # that a small set is cut into, so that a kill costs 1/64


@dataclasses.dataclass(frozen=True)
class Plan:
  """What decides the content of a folder; it cannot change half-way.

  Attributes:
    rows: of the manifest.
    digest: of its files and labels.
    short_side: as for prepare.
    quality: as for prepare.
  """

  rows: int
  digest: str
  short_side: int
  quality: int
  version: int = 1

  @classmethod
  def of(cls, rows: Manifest, short_side: int, quality: int) -> "Plan":
    """The plan for a manifest."""
    digest = hashlib.sha256(rows.labels.tobytes())
    for file in rows.files:
      digest.update(file.encode("utf-8", "surrogateescape") + b"\n")
    return cls(len(rows), digest.hexdigest()[:16], short_side, quality)

  @property
  def rows_per_shard(self) -> int:
    return min(_ROWS, math.ceil(self.rows / _SHARDS))


class Shards:
  """A folder of shards, and which of them are there.

  Attributes:
    complete: whether the folder has all there is to be.
    pieces: the shards, each a piece of work for `shard.do`.
    list: path of the list of rejected files.
  """

  def __init__(self, out: str, plan: Plan, rows: Sequence[Job]):
    """Opens a folder.

    Args:
      out: the folder, made if missing.
      plan: what decides its content.
      rows: all of them, as they are to be encoded.

    Raises:
      UserError: the folder holds something else, or cannot be made.
    """
    self._out, self._rows = out, len(rows)
    self.list = os.path.join(out, REJECTED)
    size = plan.rows_per_shard
    cuts = [tuple(rows[i : i + size]) for i in range(0, len(rows), size)]
    shards = [Shard(out, i, len(cuts), cut) for i, cut in enumerate(cuts)]
    self.pieces = [Piece(one.name, one, len(one.rows)) for one in shards]
    self.complete = _claim(out, plan)
    self._notes: dict[str, tuple[Index, dict]] = {}
    if not self.complete:
      storage.make_dir(os.path.join(out, PROGRESS))

  def there(self) -> set[str]:
    """Names of the shards that are there, as long as they were written."""
    done, folder = {}, os.path.join(self._out, PROGRESS)
    with contextlib.suppress(FileNotFoundError):  # see below
      done = storage.sizes(folder)
    found = storage.sizes(self._out)
    for piece in self.pieces:
      name = piece.name
      if f"{name}.npz" in done and name in found and name not in self._notes:
        note = _note(piece.job)
        if note and found[name] in (note[0].sizes[0], storage.UNKNOWN):
          self._notes[name] = note
    if len(self._notes) < len(self.pieces) and self.finished_elsewhere():
      self.complete = True
      return {piece.name for piece in self.pieces}
    return set(self._notes)

  @property
  def rejected(self) -> list[dict]:
    """Row, file and reason of what is no good, of shards that were `there`."""
    notes = (self._notes.get(piece.name) for piece in self.pieces)
    return [one for note in notes if note for one in note[1]["rejected"]]

  def finish(self) -> None:
    """Writes what makes the folder whole, the index last; all are `there`.

    Raises:
      UserError: not one file could be read.
    """
    notes = [self._notes[piece.name] for piece in self.pieces]
    index = Index.join([part for part, _ in notes])
    self.write_list(self.rejected)
    if not index.files:
      raise errors.UserError(
        f"none of the {self._rows} files can be read; see {self.list}"
      )
    tfds_metadata.write(self._out, index)
    summary = {
      "videos": len(index.files),
      "frames": int(index.frames.sum()),
      "seconds": round(sum(more["seconds"] for _, more in notes), 1),
      "bytes": int(index.sizes.sum()),
      "shards": len(index.shards),
      "rejected": len(self.rejected),
    }
    text = json.dumps(summary) + "\n"
    storage.write(os.path.join(self._out, SUMMARY), text.encode())
    storage.write(os.path.join(self._out, INDEX), index.dump())
    self.complete = True
    # Another call may be at the same: it meets the index.
    with contextlib.suppress(FileNotFoundError):
      storage.remove_tree(os.path.join(self._out, PROGRESS))

  def finished_elsewhere(self) -> bool:
    """Whether another call has made the folder whole meanwhile."""
    return storage.is_file(os.path.join(self._out, INDEX))

  def write_list(self, bad: Sequence[dict]) -> None:
    """Lists rejected files, by row."""
    lines = [
      json.dumps({"file": one["file"], "reason": one["reason"]}) + "\n"
      for one in sorted(bad, key=lambda one: one["row"])
    ]
    storage.write(self.list, "".join(lines).encode())

  def summary(self) -> dict:
    """Of a complete folder."""
    return json.loads(storage.read(os.path.join(self._out, SUMMARY)))


def _note(shard: Shard) -> tuple[Index, dict] | None:
  """Index and notes of a shard that is done; None: they are damaged."""
  try:
    part = Index.load(storage.read(f"{shard.note}.npz"))
    return part, json.loads(storage.read(f"{shard.note}.json"))
  except (DamagedIndex, FileNotFoundError):
    return None


def _claim(out: str, plan: Plan) -> bool:
  """Notes the plan in the folder, made if missing; whether all is done."""
  path = os.path.join(out, PLAN)
  wanted = dataclasses.asdict(plan)
  # Looked at before the plan, which comes before all else: other calls may be
  # starting at the same moment.
  names = storage.sizes(out) if storage.is_dir(out) else ()
  if names and storage.is_file(path):
    found = json.loads(storage.read(path))
    if found != wanted:
      different = [key for key in wanted if found.get(key) != wanted[key]]
      raise errors.UserError(
        f"--out {out!r} holds records made otherwise: {', '.join(different)} "
        "differ; delete it or choose another folder"
      )
    return storage.is_file(os.path.join(out, INDEX))
  if any(not name.startswith(PLAN) for name in names):
    raise errors.UserError(
      f"--out {out!r} holds other files; choose a new or an empty folder"
    )
  storage.make_dir(out)
  storage.write(path, (json.dumps(wanted) + "\n").encode())
  return False
