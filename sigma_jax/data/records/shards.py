"""The folder that prepare fills, shard by shard: a kill costs one of them."""

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import os
import tempfile

import numpy as np

from sigma_jax import errors, full_disk
from sigma_jax.data import sources, storage
from sigma_jax.data.manifest import Manifest
from sigma_jax.data.records import array_record_file, tfds_metadata
from sigma_jax.data.records.encode import Encoded
from sigma_jax.data.records.record_format import (
  INDEX,
  PLAN,
  REJECTED,
  SUMMARY,
  DamagedIndex,
  Index,
)

_ROWS = 128  # of a shard at most: 0.5 GB of 10 s videos, held in memory
_SHARDS = 64  # that a small set is cut into, so that a kill costs 1/64
_PROGRESS = "progress"  # folder of the shards' indices, until all are done


@dataclasses.dataclass(frozen=True)
class Plan:
  """What decides the content of a folder; it cannot change half-way.

  Attributes:
    rows: of the manifest.
    digest: of its files, parts, labels and classes.
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
    if rows.parts is not None:
      digest.update(rows.parts.tobytes())
    for name in rows.classes:
      digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return cls(len(rows), digest.hexdigest()[:16], short_side, quality)

  @property
  def rows_per_shard(self) -> int:
    return min(_ROWS, math.ceil(self.rows / _SHARDS))


class Shards:
  """Collects encoded rows and writes them; not for several threads.

  Attributes:
    complete: whether the folder has all there is to be.
    rejected: row, file and reason of each file known to be no good.
    missing: rows that are still to be encoded.
    list: path of the list of rejected files.
  """

  def __init__(self, out: str, plan: Plan, rows: Manifest):
    """Opens a folder; finds what an earlier run has done.

    Raises:
      UserError: the folder holds something else, or cannot be made.
    """
    self._out, self._plan, self._rows = out, plan, rows
    self._names = sources.names(rows)
    self.list = os.path.join(out, REJECTED)
    self._progress = os.path.join(out, _PROGRESS)
    self._per_shard = plan.rows_per_shard
    self._count = -(-plan.rows // self._per_shard)
    self.complete = _claim(out, plan)
    self.rejected: list[dict] = []
    self.missing: list[int] = []
    self._seconds = 0.0
    self._parts: dict[int, Index] = {}
    self._buffer: dict[int, dict[int, Encoded]] = {}
    self._writer = concurrent.futures.ThreadPoolExecutor(1)
    self._writing: concurrent.futures.Future | None = None
    if not self.complete:
      storage.make_dir(self._progress)
      self._find_done()

  def add(self, row: int, encoded: Encoded) -> None:
    """Takes a row; the last of a shard has the shard written."""
    if encoded.reason:
      self._reject(row, encoded.reason)
    shard = row // self._per_shard
    rows = self._buffer.setdefault(shard, {})
    rows[row] = encoded
    if len(rows) == len(self._rows_of(shard)):
      self.flush()
      self._writing = self._writer.submit(
        self._write, shard, self._buffer.pop(shard)
      )

  def flush(self) -> None:
    """Waits for the shard being written; raises OSError if that failed."""
    if self._writing is not None:
      shard, part, seconds = self._writing.result()
      self._parts[shard], self._writing = part, None
      self._seconds += seconds

  def finish(self) -> None:
    """Writes what makes the folder whole, the index last.

    Raises:
      UserError: not one file could be read.
    """
    self.flush()
    index = Index.join([self._parts[shard] for shard in range(self._count)])
    index = dataclasses.replace(index, classes=self._rows.classes)
    self._write_rejected()
    if not index.files:
      raise errors.UserError(
        f"none of the {self._plan.rows} files of {self._rows.path} can be "
        f"read; see {self.list}"
      )
    tfds_metadata.write(self._out, index)
    summary = {
      "videos": len(index.files),
      "frames": int(index.frames.sum()),
      "seconds": round(self._seconds, 1),
      "bytes": int(index.sizes.sum()),
      "shards": len(index.shards),
      "rejected": len(self.rejected),
    }
    self._write_json(SUMMARY, summary)
    storage.write(os.path.join(self._out, INDEX), index.dump())
    storage.remove_tree(self._progress)
    self.complete = True

  def close(self) -> None:
    """Lists what was rejected so far and waits for a shard being written."""
    try:
      if not self.complete:
        self._write_rejected()
    finally:
      self._writer.shutdown()

  def summary(self) -> dict:
    """Of a complete folder."""
    return json.loads(storage.read(os.path.join(self._out, SUMMARY)))

  def _rows_of(self, shard: int) -> range:
    first = shard * self._per_shard
    return range(first, min(first + self._per_shard, self._plan.rows))

  def _find_done(self) -> None:
    found = storage.sizes(self._out)
    done = storage.sizes(self._progress)
    for shard in range(self._count):
      name = tfds_metadata.shard_name(shard, self._count)
      if f"{name}.npz" in done and name in found:
        note = os.path.join(self._progress, name)
        try:
          part = Index.load(storage.read(f"{note}.npz"))
        except DamagedIndex:
          part = None
        if part and found[name] in (part.sizes[0], storage.UNKNOWN):
          more = json.loads(storage.read(f"{note}.json"))
          self._parts[shard] = part
          self._seconds += more["seconds"]
          self.rejected += more["rejected"]
          continue
      self.missing += self._rows_of(shard)

  def _reject(self, row: int, reason: str) -> None:
    self.rejected.append(
      {"row": row, "file": self._names[row], "reason": reason}
    )

  def _write(
    self, shard: int, rows: dict[int, Encoded]
  ) -> tuple[int, Index, float]:
    """Writes a shard and then the note that it is done."""
    name = tfds_metadata.shard_name(shard, self._count)
    good = [row for row in sorted(rows) if not rows[row].reason]
    records = (record for row in good for record in rows[row].records)
    local = not storage.is_remote(self._out)
    with tempfile.TemporaryDirectory(
      dir=self._out if local else None, prefix=".part-"
    ) as folder:
      part = os.path.join(folder, name)
      with full_disk.naming(os.path.join(self._out, name)):
        places = array_record_file.write(part, records)
      size = os.path.getsize(part)
      storage.put(part, os.path.join(self._out, name))
    index = Index(
      files=tuple(self._names[row] for row in good),
      labels=self._rows.labels[good],
      frames=np.array([rows[row].frames for row in good], np.int32),
      fps=np.array([rows[row].fps for row in good], np.float32),
      places=places,
      videos=np.array([len(good)], np.int32),
      sizes=np.array([size], np.int64),
      shards=(name,),
    )
    seconds = sum(rows[row].seconds for row in good)
    bad = [r for r in self.rejected if r["row"] in rows]
    self._write_json(
      f"{_PROGRESS}/{name}.json", {"seconds": seconds, "rejected": bad}
    )
    storage.write(os.path.join(self._progress, f"{name}.npz"), index.dump())
    return shard, index, seconds

  def _write_rejected(self) -> None:
    lines = [
      json.dumps({"file": r["file"], "reason": r["reason"]}) + "\n"
      for r in sorted(self.rejected, key=lambda r: r["row"])
    ]
    storage.write(self.list, "".join(lines).encode())

  def _write_json(self, name: str, content: dict) -> None:
    data = (json.dumps(content) + "\n").encode()
    storage.write(os.path.join(self._out, name), data)


def _claim(out: str, plan: Plan) -> bool:
  """Notes the plan in the folder, made if missing; whether all is done."""
  path = os.path.join(out, PLAN)
  wanted = dataclasses.asdict(plan)
  if storage.is_dir(out) and storage.is_file(path):
    found = json.loads(storage.read(path))
    if found != wanted:
      different = [key for key in wanted if found.get(key) != wanted[key]]
      raise errors.UserError(
        f"--out {out!r} holds records made otherwise: {', '.join(different)} "
        "differ; delete it or choose another folder"
      )
    return storage.is_file(os.path.join(out, INDEX))
  if storage.is_dir(out) and storage.sizes(out):
    raise errors.UserError(
      f"--out {out!r} holds other files; choose a new or an empty folder"
    )
  storage.make_dir(out)
  storage.write(path, (json.dumps(wanted) + "\n").encode())
  return False
