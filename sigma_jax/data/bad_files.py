"""Unreadable files: counted, listed, warned of, and too many of them fatal."""

import json
import os
import sys
import threading

import numpy as np

from sigma_jax import errors
from sigma_jax.data import storage

# The share is judged over at least this many files, so that a broken file
# among the first few does not end a run whose true share is far below.
_JUDGED_OVER = 150
_WARNED_SINGLY = 5  # afterwards one warning for every doubling of the count


class TooManyBadFiles(errors.RunStopped):
  """The data are broken: one line with counts, limit and where to look."""


class BadFiles:
  """Keeps account of the files of one run; safe to call from many threads.

  Each distinct bad file is appended once to `bad_files.jsonl` as
  `{"file": ..., "reason": ...}`, also across restarts in the same folder.
  """

  def __init__(
    self, workdir: str, max_share: float, total: int, process_index: int = 0
  ):
    """Opens the account.

    Args:
      workdir: folder of the run, made if missing. In a bucket, where nothing
        can be appended, each host has a list of its own.
      max_share: limit in [0, 1] on bad files per file tried.
      total: rows in the manifest.
      process_index: this host.
    """
    storage.make_dir(workdir)
    own = process_index and storage.is_remote(workdir)
    name = f"bad_files.{process_index}.jsonl" if own else "bad_files.jsonl"
    self.path = os.path.join(workdir, name)
    self._max_share = max_share
    self._tried = np.zeros(total, bool)
    self._bad = np.zeros(total, bool)
    self._listed = _listed(self.path)
    self._lock = threading.Lock()

  @property
  def num_tried(self) -> int:
    """Distinct files tried since this object was made."""
    return int(self._tried.sum())

  @property
  def num_bad(self) -> int:
    """Distinct bad files met since this object was made."""
    return int(self._bad.sum())

  def tried(self, row: int) -> None:
    """Counts one file; `row` is its place in the manifest."""
    self._tried[row] = True

  def report(self, row: int, path: str, reason: str) -> None:
    """Counts, lists and warns of one bad file.

    Raises:
      TooManyBadFiles: more than the allowed share of the files is bad.
    """
    with self._lock:
      self._tried[row] = True
      if self._bad[row]:
        return
      self._bad[row] = True
      bad, tried = self.num_bad, self.num_tried
      self._list(path, reason)
      self._warn(bad, tried, path, reason)
      allowed = self._max_share * max(tried, _JUDGED_OVER)
      if bad > allowed or (bad == len(self._bad) and self._max_share < 1):
        raise TooManyBadFiles(
          f"{bad} of the {tried} files tried so far cannot be read "
          f"({bad / tried:.1%}), more than data.max_bad_share = "
          f"{self._max_share:g} allows; they are listed in {self.path}; "
          f"the last one: {path}: {reason}"
        )

  def _list(self, path: str, reason: str) -> None:
    if path in self._listed:
      return
    self._listed.add(path)
    line = json.dumps({"file": path, "reason": reason}) + "\n"
    if storage.is_remote(self.path):
      before = storage.read(self.path) if storage.is_file(self.path) else b""
      storage.write(self.path, before + line.encode())
      return
    # One short append a line, so that several hosts can share the file.
    with open(self.path, "a", encoding="utf-8") as file:
      file.write(line)

  def _warn(self, bad: int, tried: int, path: str, reason: str) -> None:
    if bad <= _WARNED_SINGLY:
      line = f"warning: skipped unreadable {path}: {reason}"
    elif bad & (bad - 1) == 0:
      line = (
        f"warning: {bad} of {tried} files tried are unreadable, see {self.path}"
      )
    else:
      return
    print(line, file=sys.stderr, flush=True)


def _listed(path: str) -> set[str]:
  """Files already in the list; a line cut off by a crash counts as absent."""
  listed = set()
  if storage.is_file(path):
    for line in storage.read(path).decode().splitlines():
      try:
        listed.add(json.loads(line)["file"])
      except (ValueError, KeyError, TypeError):
        continue
  return listed
