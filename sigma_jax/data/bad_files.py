"""Unreadable files: counted, listed, warned of, and too many of them fatal."""

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np

from sigma_jax import errors, full_disk
from sigma_jax.data import bad_share, storage

COUNTS = "bad_files.json"  # of the run so far, as of a checkpoint
_WARNED_SINGLY = 5  # afterwards one warning for every doubling of the count

# int64 [k] of this host -> [hosts, k] of all, on each of them.
Gather = Callable[[np.ndarray], np.ndarray]


class TooManyBadFiles(errors.RunStopped):
  """The data are broken: one line with counts, limit and where to look."""


class BadFiles:
  """Keeps account of the files of one run; safe to call from many threads.

  Each distinct bad file is appended once to `bad_files.jsonl` as
  `{"file": ..., "reason": ...}`, also across restarts in the same folder. A
  restart that reads such a file after all takes it off the list.
  Files count once, however often, in however many rows and by whichever host
  they are tried; when they are too many, `bad_share` says.
  """

  def __init__(
    self,
    workdir: str,
    max_share: float,
    files: Sequence[str],
    process_index: int = 0,
    shuffled: bool = True,
  ):
    """Opens the account.

    Args:
      workdir: folder of the run, made if missing. In a bucket, where nothing
        can be appended, each host has a list of its own.
      max_share: limit in [0, 1] on the share of bad files.
      files: of every row of the source.
      process_index: this host.
      shuffled: whether rows are tried in random order.
    """
    storage.make_dir(workdir)
    own = process_index and storage.is_remote(workdir)
    name = f"bad_files.{process_index}.jsonl" if own else "bad_files.jsonl"
    self.path = os.path.join(workdir, name)
    self._max_share, self._shuffled = max_share, shuffled
    self._number: dict[str, int] = {}
    self._of_row = np.array(
      [self._number.setdefault(f, len(self._number)) for f in files], np.int64
    )
    self._alone = process_index == 0 or bool(own)  # on writing the list anew
    self._listed = _listed(self.path)
    self._lock = threading.Lock()
    self._missing = 0
    self._begin(0, set())

  def _begin(self, tried: int, bad: set[int]) -> None:
    self._before = tried  # files that were tried before, by whomever
    self._tried = np.zeros(len(self._number), bool)
    self._bad: set[int] = set()  # of this host
    self._known = bad  # before, or by others
    self._others_tried = 0
    self._gathered: np.ndarray | None = None

  @property
  def num_tried(self) -> int:
    """Distinct files tried, as far as this host knows."""
    tried = self._before + int(self._tried.sum()) + self._others_tried
    return max(min(tried, len(self._number)), self.num_bad)

  @property
  def num_bad(self) -> int:
    """Distinct bad files among them."""
    return len(self._bad | self._known)

  def resume(self, step: int) -> None:
    """Goes on with the counts that `save` stored at this step or before."""
    path = os.path.join(os.path.dirname(self.path), COUNTS)
    if not step or not storage.is_file(path):
      return
    try:
      found = json.loads(storage.read(path))
      if found["step"] > step:
        return  # of files that are going to be tried again
      bad = {self._number[f] for f in found["bad"] if f in self._number}
      self._begin(int(found["tried"]), bad)
    except (ValueError, KeyError, TypeError):  # damaged: counted anew
      return

  def save(self, step: int) -> None:
    """Stores the counts for `resume`; for one host to call."""
    names = list(self._number)
    with self._lock:
      bad = [names[number] for number in sorted(self._bad | self._known)]
      found = {"step": step, "tried": self.num_tried, "bad": bad}
    path = os.path.join(os.path.dirname(self.path), COUNTS)
    storage.write(path, (json.dumps(found) + "\n").encode())

  def skip(self, row: int) -> None:
    """All rows below this one were tried before: their bad files are listed."""
    with self._lock:
      tried = int(self._of_row[:row].max(initial=-1)) + 1
      listed = (self._number.get(file, tried) for file in self._listed)
      known = self._bad | self._known | set(listed)
      self._begin(tried, {number for number in known if number < tried})

  def tried(self, row: int) -> None:
    """Counts one file; `row` is its place in the manifest."""
    self._tried[self._of_row[row]] = True

  def report(self, row: int, path: str, reason: str) -> None:
    """Counts, lists and warns of one bad file.

    Raises:
      TooManyBadFiles: more than the allowed share of the files is bad.
    """
    with self._lock:
      number = int(self._of_row[row])
      self._tried[number] = True
      if number in self._bad:
        return
      self._bad.add(number)
      self._missing += reason == "missing file"
      self._list(path, reason)
      self._warn(path, reason)
      self._judge(f"; the last one: {path}: {reason}")

  def share(self, gather: Gather) -> None:
    """Learns what the other hosts have met; all of them call it together.

    Raises:
      TooManyBadFiles: on all of them, as in `report`.
    """
    with self._lock:
      own, mine = int(self._tried.sum()), sorted(self._bad)
    counts = gather(np.array([own, len(mine)], np.int64))
    if self._gathered is not None and (counts == self._gathered).all():
      return
    self._gathered = counts
    # As wide as the longest list, or up to twice: each width is compiled.
    width = 1 << int(counts[:, 1].max()).bit_length()
    rows = gather(np.array(mine + [-1] * (width - len(mine)), np.int64))
    with self._lock:
      self._others_tried = int(counts[:, 0].sum()) - own
      self._known |= set(rows[rows >= 0].tolist())
      self._judge("")

  def strike(self, gather: Gather) -> None:
    """Takes off what was bad before and was read now; all hosts call together.

    Only once nothing is being read: a file counts as read when it was tried and
    not reported.
    """
    with self._lock:
      names = list(self._number)
      before = {self._number.get(file, -1) for file in self._listed}
      before = (before | self._known) - self._bad
      good = sorted(n for n in before if n >= 0 and self._tried[n])
    counts = gather(np.array([len(good)], np.int64))
    if not counts.any():
      return
    width = 1 << int(counts.max()).bit_length()
    rows = gather(np.array(good + [-1] * (width - len(good)), np.int64))
    with self._lock:
      good = set(rows[rows >= 0].tolist()) - self._bad
      self._known -= good
      found = {names[number] for number in good} & self._listed
      self._listed -= found
      if found and self._alone:
        _write_without(self.path, found)

  def _judge(self, last: str) -> None:
    bad, tried, total = self.num_bad, self.num_tried, len(self._number)
    if bad_share.too_many(bad, tried, total, self._max_share, self._shuffled):
      hint = ""
      if bad == tried == self._missing:
        hint = "; none of them is there: is data.root the right folder?"
      raise TooManyBadFiles(
        f"{bad} of the {tried} files tried so far cannot be read "
        f"({bad / tried:.1%}), more than data.max_bad_share = "
        f"{self._max_share:g} allows; they are listed in {self.path}{last}"
        f"{hint}"
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
    with (
      full_disk.naming(self.path),
      open(self.path, "a", encoding="utf-8") as file,
    ):
      file.write(line)

  def _warn(self, path: str, reason: str) -> None:
    bad, tried = len(self._bad), self.num_tried
    summary = f"{bad} of {tried} files tried are unreadable, see {self.path}"
    warn(bad, path, reason, summary)


def warn(bad: int, path: str, reason: str, summary: str) -> None:
  """Warns of the bad-th bad file: of the first ones, and of every doubling."""
  if bad <= _WARNED_SINGLY:
    line = f"warning: skipped unreadable {path}: {reason}"
  elif bad & (bad - 1) == 0:
    line = f"warning: {summary}"
  else:
    return
  print(line, file=sys.stderr, flush=True)


def _write_without(path: str, files: set[str]) -> None:
  """The list without some files; whole or not at all."""
  kept = []
  for line in storage.read(path).decode().splitlines(keepends=True):
    try:
      if json.loads(line)["file"] in files:
        continue
    except (ValueError, KeyError, TypeError):
      pass
    kept.append(line)
  storage.write(path, "".join(kept).encode())


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
