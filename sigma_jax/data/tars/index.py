"""The index of some tars: a Parquet file beside them, made once.

No tar is read again to find a video, until its size or time of change is
another one. Columns: shard, name, offset and size in bytes, cls, json, txt.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow
from pyarrow import parquet

from sigma_jax import cli, errors
from sigma_jax.data import storage
from sigma_jax.data.tars import members

NAME = "tars.index.parquet"
_VERSION = 1
_NOTE = b"sigma_jax"  # key of the metadata: version and tars, as JSON
_THREADS = 16
_SAVE_EVERY = 60.0  # seconds: a kill costs no more
_SCHEMA = pyarrow.schema(
  [
    ("shard", pyarrow.string()),
    ("name", pyarrow.string()),
    ("offset", pyarrow.int64()),
    ("size", pyarrow.int64()),
    *((suffix, pyarrow.string()) for suffix in members.TEXTS),
  ]
)


class Part(NamedTuple):
  """What is known of one tar.

  Attributes:
    stamp: size in bytes and time of change in ns, as of then.
    rows: one a video, columns as above.
    without: names of samples that have no video.
  """

  stamp: tuple[int, int]
  rows: pyarrow.Table
  without: list[str]


def load(tars: Sequence[str]) -> list[Part]:
  """What some tars hold, in their order; from the index where that is current.

  Raises:
    FileNotFoundError, UserError: one of them is missing or no good; one line.
  """
  stamps = dict(zip(tars, storage.stamps(tars), strict=True))
  missing = [tar for tar, stamp in stamps.items() if stamp is None]
  if missing:
    raise FileNotFoundError(
      f"{len(missing)} of {len(tars)} tar files are not there, the first is "
      f"{missing[0]}"
    )
  folders = dict.fromkeys(map(os.path.dirname, tars))
  parts: dict[str, Part] = {}
  for folder in folders:
    own = {t: s for t, s in stamps.items() if os.path.dirname(t) == folder}
    parts |= _of_folder(folder, own)
  return [parts[tar] for tar in tars]


def _of_folder(
  folder: str, stamps: dict[str, tuple[int, int]]
) -> dict[str, Part]:
  """Tar -> what it holds, of tars in one folder."""
  stored: dict[str, Part] = {}  # by name, of tars not asked for too
  changed = set()
  for place in _places(folder):
    for name, part in _read(place).items():
      tar = os.path.join(folder, name)
      if stamps.get(tar, part.stamp) == part.stamp:
        stored.setdefault(name, part)
      else:
        changed.add(name)
  wanted = [tar for tar in stamps if os.path.basename(tar) not in stored]
  changed = [tar for tar in wanted if os.path.basename(tar) in changed]
  if changed:
    _say(
      f"{len(changed)} tar files have changed since they were indexed, the "
      f"first is {changed[0]}: they are indexed again"
    )
  if wanted:
    _fill(folder, wanted, stamps, stored)
  return {tar: stored[os.path.basename(tar)] for tar in stamps}


def _fill(
  folder: str, wanted: list[str], stamps: dict, stored: dict[str, Part]
) -> None:
  """Indexes tars into `stored` and keeps that; what is good, in any case."""
  last, before = time.monotonic(), len(stored)
  try:
    for tar, found in _scanned(wanted):
      stored[os.path.basename(tar)] = _part(tar, stamps[tar], found)
      if time.monotonic() - last > _SAVE_EVERY:
        _write(folder, stored)
        last = time.monotonic()
  finally:
    if count := len(stored) - before:
      _say(f"index of {count} tar files: {_write(folder, stored)}")


def _scanned(tars: list[str]) -> Iterator[tuple[str, members.Found]]:
  """Reads the headers of tars, many at once.

  Raises:
    UserError: once all are read, where some are no good.
  """
  broken, progress = {}, cli.Progress("tar files indexed", len(tars))
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    jobs = {pool.submit(members.read, tar): tar for tar in tars}
    try:
      for job in concurrent.futures.as_completed(jobs):
        try:
          yield jobs[job], job.result()
        except (members.BrokenTarError, OSError) as error:
          broken[jobs[job]] = error
        progress.bad = len(broken)
        progress.add()
    finally:
      pool.shutdown(cancel_futures=True)
  if broken:
    first = min(broken)
    raise errors.UserError(
      f"{len(broken)} of {len(tars)} tar files cannot be used, the first is "
      f"{first}: {broken[first]}; copy or write it again, or leave it out"
    )


def _part(tar: str, stamp: tuple[int, int], found: members.Found) -> Part:
  samples = found.samples
  columns = {
    "shard": [os.path.basename(tar)] * len(samples),
    "name": [_utf8(sample.name) for sample in samples],
    "offset": [sample.offset for sample in samples],
    "size": [sample.size for sample in samples],
  }
  for place, suffix in enumerate(members.TEXTS):
    columns[suffix] = [sample.texts[place] for sample in samples]
  rows = pyarrow.table(columns, _SCHEMA)
  return Part(stamp, rows, [_utf8(name) for name in found.without])


def _utf8(name: str) -> str:
  """Names of files need not be UTF-8; Parquet's text is."""
  return name.encode("utf-8", "backslashreplace").decode()


def _places(folder: str) -> tuple[str, str]:
  """Where the index of a folder's tars may be: there, else the user's cache."""
  home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  real = folder if storage.is_remote(folder) else os.path.realpath(folder)
  key = hashlib.sha256(real.encode(errors="surrogateescape")).hexdigest()[:16]
  cached = os.path.join(home, "sigma_jax", "tars", f"{key}.parquet")
  return os.path.join(folder, NAME), cached


def _read(path: str) -> dict[str, Part]:
  """Tar's name -> what is known of it; nothing where there is no index."""
  if not storage.is_file(path):
    return {}
  try:
    table = parquet.read_table(io.BytesIO(storage.read(path)))
    note = json.loads(table.schema.metadata[_NOTE])
    if note["version"] != _VERSION:
      raise ValueError(f"version {note['version']}")
    parts, first = {}, 0
    for name, size, changed, count, without in note["tars"]:
      rows = table.slice(first, count)
      if rows.schema.remove_metadata() != _SCHEMA or len(rows) != count:
        raise ValueError("other columns or rows")
      parts[name] = Part((size, changed), rows, without)
      first += count
  except (pyarrow.ArrowException, ValueError, KeyError, TypeError) as error:
    reason = " ".join(str(error).split())
    _say(f"index {path} is damaged or of another version ({reason}): made anew")
    return {}
  return parts


def _write(folder: str, parts: dict[str, Part]) -> str:
  """Writes the index, where that can be; says where."""
  names = sorted(parts)
  tars = [
    (name, *parts[name].stamp, len(parts[name].rows), parts[name].without)
    for name in names
  ]
  note = json.dumps({"version": _VERSION, "tars": tars}).encode()
  table = pyarrow.concat_tables(
    [_SCHEMA.empty_table()]
    + [parts[n].rows.replace_schema_metadata(None) for n in names]
  ).replace_schema_metadata({_NOTE: note})
  data = io.BytesIO()
  parquet.write_table(table, data, compression="zstd")
  refused = ""
  for path in _places(folder):
    try:
      storage.make_dir(os.path.dirname(path) or os.curdir)
      _put(path, data.getvalue())
      return f"{path}{refused}"
    except OSError as error:  # a folder may be another's, or on a full disk
      refused = f", since it cannot be in {os.path.dirname(path)} ({error})"
  return f"kept nowhere{refused}; the next start makes it anew"


def _put(path: str, data: bytes) -> None:
  """Writes a file as a whole; several hosts may do so at once."""
  if storage.is_remote(path):
    storage.write(path, data)
    return
  own = f"{path}.{socket.gethostname()}-{os.getpid()}"
  storage.write(own, data)
  storage.put(own, path)


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
