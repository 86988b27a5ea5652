"""The parts of a file of features: each some rows, computed and stored."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigma_jax import compile_cache, errors, files
from sigma_jax.pieces import pieces
from sigma_jax.settings.data import Reading


class Given(NamedTuple):
  """What was asked for: all that a process needs to do a part."""

  init: str
  manifest: str
  root: str
  reading: Reading
  stride: int
  batch_size: int
  part_size: int
  parts: str


class Part(NamedTuple):
  """Rows first .. last - 1."""

  given: Given
  first: int
  last: int

  @property
  def path(self) -> pathlib.Path:
    number = self.first // self.given.part_size
    return pathlib.Path(self.given.parts, f"part-{number:06d}.npz")


def listed(given: Given):
  """The videos, and whether they have labels."""
  from sigma_jax.data import sources

  rows = sources.load(
    given.manifest, given.root, classes=False, reading=given.reading
  )
  return rows, bool((rows.labels >= 0).any())


@functools.lru_cache(1)
def opened(given: Given):
  """The encoder, its settings and the rows: once a process."""
  from sigma_jax.inference import encoder as encoder_lib

  encoder = encoder_lib.load(given.init)
  data = encoder.settings.data
  data = dataclasses.replace(data, stride=given.stride or data.stride)
  settings = dataclasses.replace(encoder.settings, data=data)
  return encoder, settings, listed(given)[0]


def job_of(given: Given) -> dict:
  """What has to be equal for the parts of another call to be used."""
  from sigma_jax.data import sources

  encoder, settings, rows = opened(given)
  names = "\n".join(sources.names(rows))
  files = hashlib.sha256(names.encode(errors="surrogateescape"))
  return {
    "weights": encoder.fingerprint(),
    "files": files.hexdigest(),
    "settings": settings.fingerprint(),
    "part_size": given.part_size,
  }


def claim(parts: pathlib.Path, job: dict) -> None:
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


def work_of(given: Given, rows) -> pieces.Work:
  """The parts, each a piece."""
  from sigma_jax.data import sources

  size, count = given.part_size, len(rows)
  parts = [Part(given, i, min(i + size, count)) for i in range(0, count, size)]
  # A video that was written anew since is another one.
  key = functools.cache(
    lambda part: sources.key_of_rows(rows, part.first, part.last)
  )
  work = [
    pieces.Piece(part.path.name, part, part.last - part.first) for part in parts
  ]
  return pieces.Work(
    "clips",
    work,
    _fill,
    lambda: {
      part.path.name
      for part in parts
      if part.path.exists() and _key_of(part.path) == key(part)
    },
    # What could not be read is tried again.
    left=lambda piece: piece.size - len(load(piece.job.path)["row"]),
  )


def _fill(parts: Sequence[Part], workers: int, tally: pieces.Tally) -> None:
  """Computes what is missing of some parts; in this process alone."""
  from sigma_jax.data import sources

  del workers  # threads read, and JAX takes all cores that it is given
  compile_cache.use()
  for part in parts:
    encoder, settings, rows = opened(part.given)
    key = sources.key_of_rows(rows, part.first, part.last)
    wanted, done = np.arange(part.first, part.last), None
    if part.path.exists() and _key_of(part.path) == key:
      done = load(part.path)
      wanted = np.setdiff1d(wanted, done["row"])
    if not len(wanted):
      continue  # another call has made it meanwhile
    arrays = _compute(
      rows, wanted, encoder, settings, part.given.batch_size, tally
    )
    if done is not None:
      for name in ("features", "row"):
        arrays[name] = np.concatenate([done[name], arrays[name]])
      order = np.argsort(arrays["row"])
      arrays |= {name: arrays[name][order] for name in ("features", "row")}
    files.write_whole(part.path, files.npz(**arrays, key=np.array(key)))


def _key_of(path: pathlib.Path) -> str:
  with np.load(path) as arrays:
    return str(arrays["key"]) if "key" in arrays else ""


def _compute(
  rows, wanted, encoder, settings, batch_size, tally
) -> dict[str, np.ndarray]:
  """Of some rows, int [k].

  Returns:
    `features` and `row` of those that can be read, `bad_row` and `bad_reason`
    of the others, both in order of the rows.
  """
  from sigma_jax.data import bad_files, pipeline, sources

  bad: dict[int, str] = {}

  def on_bad(row, path, reason):
    bad[int(wanted[row])] = reason
    bad_files.warn(len(bad), path, reason, f"{len(bad)} files are unreadable")

  batches = pipeline.eval_batches(
    settings,
    sources.take(rows, wanted),
    batch_size=batch_size,
    on_bad=on_bad,
  )
  features = [np.zeros((0, encoder.dim), np.float32)]
  found = [np.zeros(0, np.int64)]
  position = told = 0
  with batches:
    for batch in batches:
      valid = batch["valid"]
      if valid.any():
        pooled = np.asarray(encoder.encode(batch["video"]).pooled)
        features.append(pooled[valid])
        found.append(wanted[batch["index"][valid]])
      # Dictionaries keep their order: these are new.
      new, told = list(bad)[told:], len(bad)
      tally.add(min(batch_size, len(wanted) - position), new)
      position += batch_size
  order = sorted(bad)
  return {
    "features": np.concatenate(features),
    "row": np.concatenate(found),
    "bad_row": np.array(order, np.int64),
    "bad_reason": np.array([bad[row] for row in order], np.str_),
  }


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a part that is there."""
  with np.load(path) as arrays:
    return dict(arrays)
