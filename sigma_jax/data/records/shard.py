"""One shard of a prepared folder: a piece of what prepare does."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from sigma_jax import full_disk
from sigma_jax.data import storage
from sigma_jax.data.check import pool
from sigma_jax.data.records import array_record_file, encode, tfds_metadata
from sigma_jax.data.records.record_format import Index
from sigma_jax.pieces import pieces

PROGRESS = "progress"  # folder of the shards' indices, until all are done
_GRACE = 30.0  # seconds past a file's own limit that its reader has to notice


@dataclasses.dataclass(frozen=True)
class Shard:
  """What is to be in a shard.

  Attributes:
    out: folder of all shards.
    number: of this one, from 0.
    count: of all.
    rows: that it holds, as far as they can be read.
  """

  out: str
  number: int
  count: int
  rows: tuple[encode.Job, ...]

  @property
  def name(self) -> str:
    """Of its file."""
    return tfds_metadata.shard_name(self.number, self.count)

  @property
  def note(self) -> str:
    """Path, but for .npz and .json, of the notes that say that it is done."""
    return os.path.join(self.out, PROGRESS, self.name)


def do(shards: Sequence[Shard], workers: int, tally: pieces.Tally) -> None:
  """Encodes the rows in processes, and writes each shard once it is complete.

  Args:
    shards: to be made; their folder and its progress folder are there.
    workers: processes.
    tally: is told of every row, and of the bad ones row, file and reason.

  Raises:
    OSError: a shard cannot be written.
  """
  rows = [(shard, row) for shard in shards for row in shard.rows]
  jobs = [row for _, row in rows]
  limit = max(job.timeout for job in jobs) + _GRACE
  results = pool.run(
    encode.encode, jobs, workers=min(workers, len(jobs)), limit=limit
  )
  waiting: dict[int, dict[int, encode.Encoded]] = {}
  writing = None
  with (
    concurrent.futures.ThreadPoolExecutor(1) as thread,
    contextlib.closing(results),
  ):
    for place, encoded, reason in results:
      shard, row = rows[place]
      encoded = encoded or encode.Encoded(reason=reason)
      there = waiting.setdefault(shard.number, {})
      there[row.row] = encoded
      if len(there) == len(shard.rows):
        if writing:
          writing.result()
        writing = thread.submit(write, shard, waiting.pop(shard.number))
      tally.add(1, rejected([row], there) if encoded.reason else ())
    if writing:
      writing.result()


def rejected(
  rows: Sequence[encode.Job], encoded: Mapping[int, encode.Encoded]
) -> list[dict]:
  """`row`, `file` and `reason` of those that are no good."""
  return [
    {"row": job.row, "file": job.file, "reason": encoded[job.row].reason}
    for job in rows
    if encoded[job.row].reason
  ]


def write(shard: Shard, encoded: Mapping[int, encode.Encoded]) -> None:
  """Writes a shard and then the notes that it is done.

  Args:
    shard: the shard.
    encoded: what became of its rows, by row.

  Raises:
    OSError: it cannot be written.
  """
  good = [job for job in shard.rows if not encoded[job.row].reason]
  records = (record for job in good for record in encoded[job.row].records)
  local = not storage.is_remote(shard.out)
  # What a kill leaves there goes with that folder.
  beside = os.path.dirname(shard.note) if local else None
  with tempfile.TemporaryDirectory(dir=beside, prefix=".part-") as folder:
    part, target = (os.path.join(x, shard.name) for x in (folder, shard.out))
    with full_disk.naming(target):
      places = array_record_file.write(part, records)
    size = os.path.getsize(part)
    storage.put(part, target)
  index = Index(
    files=tuple(job.file for job in good),
    labels=np.array([job.label for job in good], np.int32),
    frames=np.array([encoded[job.row].frames for job in good], np.int32),
    fps=np.array([encoded[job.row].fps for job in good], np.float32),
    places=places,
    videos=np.array([len(good)], np.int32),
    sizes=np.array([size], np.int64),
    shards=(shard.name,),
  )
  more = {
    "seconds": sum(encoded[job.row].seconds for job in good),
    "rejected": rejected(shard.rows, encoded),
  }
  storage.write(f"{shard.note}.json", (json.dumps(more) + "\n").encode())
  storage.write(f"{shard.note}.npz", index.dump())
