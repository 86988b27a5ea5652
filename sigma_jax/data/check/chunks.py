"""Files to read in chunks: the pieces of a check, each with its own answers."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sigma_jax import files
from sigma_jax.data import storage
from sigma_jax.data.check import pool
from sigma_jax.data.check.file import Finding, Job, digest, examine
from sigma_jax.pieces import pieces

_FILES = 128  # of a chunk at most
_CHUNKS = 64  # that a small list is cut into
_WHAT = {"files": examine, "fingerprints": digest}


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Some files, and where the answers go.

  Attributes:
    what: "files" to examine them, "fingerprints" to digest them.
    jobs: the files.
    limit: seconds for one of them, after which its reader is killed.
    path: of the answers, JSON.
  """

  what: str
  jobs: tuple[Job, ...]
  limit: float
  path: str


def ask(
  what: str,
  jobs: Mapping[str, Job],
  limit: float,
  folder: str,
  how: pieces.How,
  workers: int,
) -> dict[str, Any] | None:
  """Has files read, in processes, here or elsewhere.

  Args:
    what, limit: as of a Chunk.
    jobs: by name.
    folder: for the answers; those that are there are not asked for again,
      unless the file was written anew.
    how: which of the chunks, and where.
    workers: processes.

  Returns:
    Findings by name, or fingerprints of what could be read; None where some are
    missing that other calls are to make.
  """
  names, every = list(jobs), list(jobs.values())
  size = min(_FILES, math.ceil(len(every) / _CHUNKS)) or 1
  cuts = [tuple(every[i : i + size]) for i in range(0, len(every), size)]
  chunks = [
    Chunk(what, cut, limit, os.path.join(folder, _name(what, cut)))
    for cut in cuts
  ]
  todo = [
    pieces.Piece(os.path.basename(one.path), one, len(one.jobs))
    for one in chunks
  ]
  work = pieces.Work(what, todo, do, lambda: storage.sizes(folder).keys())
  if not pieces.run(work, how, workers):
    return None
  answers = [x for one in chunks for x in json.loads(storage.read(one.path))]
  found = zip(names, answers, strict=True)
  if what == "files":
    return {name: Finding(**answer) for name, answer in found}
  return {name: answer for name, answer in found if answer is not None}


def do(chunks: Sequence[Chunk], workers: int, tally: pieces.Tally) -> None:
  """Reads files in processes, and writes the answers of each chunk.

  Args:
    chunks: all of the same `what`; their folder is there.
    workers: processes.
    tally: is told of every file, and of those that cannot be read.
  """
  places = [(one, i) for one in chunks for i in range(len(one.jobs))]
  results = pool.run(
    _WHAT[chunks[0].what],
    [one.jobs[i] for one, i in places],
    workers=min(workers, len(places)),
    limit=chunks[0].limit,
  )
  waiting: dict[str, dict[int, Any]] = {}
  with contextlib.closing(results):
    for place, answer, reason in results:
      one, i = places[place]
      if one.what == "files":
        answer = dataclasses.asdict(Finding(reason) if reason else answer)
        reason = answer["reason"]
      there = waiting.setdefault(one.path, {})
      there[i] = answer
      if len(there) == len(one.jobs):
        answers = [there[i] for i in range(len(one.jobs))]
        files.write_whole(one.path, json.dumps(answers))
        del waiting[one.path]
      tally.add(1, [reason] if reason and one.what == "files" else ())


def _name(what: str, jobs: Sequence[Job]) -> str:
  """Of another file where other answers are to be expected."""
  parts = [[*dataclasses.astuple(job), storage.stamp(job.path)] for job in jobs]
  return f"{what}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"
