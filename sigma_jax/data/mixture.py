"""Several sets as the rows of one: each has its share and its own epochs."""

import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np

from sigma_jax import errors
from sigma_jax.data import sampling, shares, sources
from sigma_jax.settings import Data


class Mixture:
  """Sets one after the other as a Source; its order is of `place`.

  Attributes:
    path: all paths, for messages.
    files, labels: of all rows; there are no labels, -1, since numbers of
      different sets mean different classes.
    sets: the sources.
    names: short ones, each once.
    rows: range of the rows of each set.
    turns: whose turn it is.
  """

  def __init__(self, sets: Sequence[sources.Source], weights: Sequence[float]):
    """Joins the sets.

    Args:
      sets: one or more.
      weights: as many, above 0.

    Raises:
      UserError: a weight is too small.
    """
    self.sets = tuple(sets)
    self.path = ", ".join(part.path for part in sets)
    self.names = _names([part.path for part in sets])
    self.files = tuple(name for part in sets for name in sources.names(part))
    self.labels = np.full(len(self.files), -1, np.int32)
    ends = np.cumsum([len(part) for part in sets]).tolist()
    self.rows = tuple(map(range, [0, *ends[:-1]], ends))
    self._ends = np.array(ends)
    try:
      self.turns = shares.Turns(shares.whole(weights))
    except ValueError as error:
      raise errors.UserError(f"data.mixture: {error}") from error

  def __len__(self) -> int:
    return len(self.files)

  def which(self, row: int) -> int:
    """The set that a row is of."""
    return int(np.searchsorted(self._ends, row, "right"))

  def open(self, row: int, timeout: float) -> sources.Video:
    which = self.which(row)
    return self.sets[which].open(row - self.rows[which].start, timeout)

  def identify(self, row: int) -> list:
    """As `Source.identify`."""
    which = self.which(row)
    return self.sets[which].identify(row - self.rows[which].start)

  def epochs(self, number: int) -> dict[str, float]:
    """How often each set has been gone through after so many examples."""
    counts = self.turns.counts(number)
    return {
      name: count / len(rows)
      for name, count, rows in zip(self.names, counts, self.rows, strict=True)
    }

  def describe(self) -> list[str]:
    """A line a set: what it is, its share, and its epochs in one of all."""
    total, once = sum(self.turns.parts), self.turns.counts(len(self))
    return [
      f"set {name}: {len(rows):,} rows of {part.path}, share "
      f"{share / total:.6g} ({share}/{total}), {count / len(rows):.3g} epochs "
      f"in {len(self):,} examples"
      for name, part, rows, share, count in zip(
        self.names, self.sets, self.rows, self.turns.parts, once, strict=True
      )
    ]


def load(data: Data) -> sources.Source:
  """What pre-training reads: `data.train`, or the sets of `data.mixture`.

  Raises:
    FileNotFoundError, UserError: see `sources.load`.
  """
  if not data.mixture:
    return _load(data.train, data.root, data)
  found = [
    _load(share.path, share.root or data.root, data) for share in data.mixture
  ]
  return Mixture(found, [share.weight for share in data.mixture])


def _load(path: str, root: str, data: Data) -> sources.Source:
  return sources.load(path, root, classes=False, reading=data.reading)


def identity(source: sources.Source) -> tuple[str, str]:
  """What a run is trained on: in words, and as sixteen hex digits.

  These change with the rows of any set, their order, and with the shares.
  """
  if not isinstance(source, Mixture):
    rows = f"{len(source)} rows of {source.path}"
    return rows, sources.identity(source, labels=False)
  parts = source.turns.parts
  words = ", ".join(
    f"{len(one)} rows of {one.path} (share {part}/{sum(parts)})"
    for one, part in zip(source.sets, parts, strict=True)
  )
  found = [sources.identity(one, labels=False) for one in source.sets]
  text = json.dumps([found, parts])
  return words, hashlib.sha256(text.encode()).hexdigest()[:16]


def place(source: sources.Source, seed: int, number: int) -> tuple[int, range]:
  """The row of one place in training, and the rows it is drawn from.

  A pure function: each set goes through its own rows again and again, each time
  in another order.

  Args:
    source: n rows; a `Mixture` or any other.
    seed: of the run.
    number: of the example in the run, from 0.
  """
  which, position, rows = 0, number, range(len(source))
  if isinstance(source, Mixture):
    which, position = source.turns.of(number)
    rows = source.rows[which]
  epoch, at = divmod(position, len(rows))
  return rows[sampling.shuffled_index(seed, epoch, at, len(rows), which)], rows


def part_of(source: sources.Source, row: int) -> sources.Source:
  """The set that a row is of; the source itself where it is no mixture."""
  if isinstance(source, Mixture):
    return source.sets[source.which(row)]
  return source


def rows_of(source: sources.Source) -> dict[str, range] | None:
  """Name -> rows of each set; None where it is no mixture."""
  if isinstance(source, Mixture):
    return dict(zip(source.names, source.rows, strict=True))
  return None


def contents(source: sources.Source) -> dict[str, sources.Source]:
  """Path -> source of each set, or of the only one."""
  if isinstance(source, Mixture):
    return {f"{i}: {one.path}": one for i, one in enumerate(source.sets)}
  return {source.path: source}


def _names(paths: Sequence[str]) -> tuple[str, ...]:
  """What tells paths apart: d/k710/train.csv, d/ssv2/train.csv: k710, ssv2."""
  split = [os.path.normpath(path).split(os.sep) for path in paths]
  # Of lists: part by part.
  first = len(os.path.commonprefix(split))  # noqa: RUF071
  ends = [parts[first:][::-1] for parts in split]
  last = len(os.path.commonprefix(ends))  # noqa: RUF071
  names = [
    os.path.splitext("_".join(parts[first : len(parts) - last]))[0]
    for parts in split
  ]
  if not all(names) or len(set(names)) < len(names):
    names = [f"{i}_{os.path.basename(path)}" for i, path in enumerate(paths)]
  return tuple(names)
