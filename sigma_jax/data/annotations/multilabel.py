"""Several labels a video, each with its times: the file beside a manifest.

A manifest has one integer a row. Where videos have many classes (Charades) it
is a row of such a file, an .npz of

  videos    str [n]      names without folders and suffix
  classes   str [c]      names
  row       int32 [m]    the video of each annotated span
  label     int32 [m]    its class
  start     float64 [m]  seconds
  end       float64 [m]  seconds
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sigma_jax import errors
from sigma_jax.data import storage
from sigma_jax.files import npz

_KEYS = ("videos", "classes", "row", "label", "start", "end")


class Rows(Protocol):
  """A manifest or another source of m labelled videos."""

  files: Sequence[str]
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class MultiLabels:
  """Classes of the videos of one source, in its order.

  Attributes:
    targets: bool [m, c], whether a class occurs anywhere in a video.
    names: c class names.
  """

  targets: np.ndarray
  names: tuple[str, ...]
  _spans: tuple[
    np.ndarray, ...
  ]  # a video's (class, start, end), float64 [k, 3]

  def during(self, row: int, start: float, end: float) -> np.ndarray:
    """Classes that occur in a part of a video.

    Args:
      row: of the source.
      start: of the part, seconds.
      end: of the part, seconds, not before start; both ends belong to it.

    Returns:
      bool [c].
    """
    spans = self._spans[row]
    touched = (spans[:, 1] <= end) & (spans[:, 2] >= start)
    found = np.zeros(len(self.names), bool)
    found[spans[touched, 0].astype(np.int64)] = True
    return found


def save(
  path: str,
  files: Sequence[str],
  spans: Sequence[tuple[int, int, float, float]],
  names: Sequence[str],
) -> None:
  """Writes the file.

  Args:
    path: ends in .npz.
    files: n video names, without folders and suffix.
    spans: (row, class, start, end) with times in seconds.
    names: c class names.
  """
  row, label, start, end = zip(*spans, strict=True) if spans else ([],) * 4
  content = npz(
    videos=np.asarray(files, np.str_),
    classes=np.asarray(names, np.str_),
    row=np.asarray(row, np.int32),
    label=np.asarray(label, np.int32),
    start=np.asarray(start, np.float64),
    end=np.asarray(end, np.float64),
  )
  storage.write(path, content)


def load(path: str, source: Rows) -> MultiLabels:
  """Classes of every video of a source.

  Args:
    path: the .npz.
    source: m videos; a label is the row of the .npz, and the file's name there
      has to be the source's.

  Raises:
    FileNotFoundError: there is no such .npz.
    UserError: it is no such file, or belongs to another manifest.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f"labels {path!r}: no such file")
  try:
    with np.load(path, allow_pickle=False) as arrays:
      # It is written as it is, not compressed, and so holds what it claims.
      claimed = sum(info.file_size for info in arrays.zip.infolist())
      if claimed > os.path.getsize(path):
        raise ValueError("its arrays are larger than the file")
      table = {key: arrays[key] for key in _KEYS}
  except Exception as error:  # NumPy raises OSError, KeyError, BadZipFile, ...
    raise errors.UserError(
      f"labels {path}: not the .npz of multiple labels that "
      "'sigma_jax.data.layouts charades' writes"
    ) from error
  _check(path, table)
  for name, row in zip(source.files, source.labels, strict=True):
    stem = os.path.splitext(os.path.basename(name))[0]
    if row >= len(table["videos"]) or table["videos"][row] != stem:
      raise errors.UserError(
        f"labels {path} belong to another manifest: its row {row} is not "
        f"{stem!r}"
      )
  columns = [table[key] for key in ("label", "start", "end")]
  values = np.stack([column.astype(np.float64) for column in columns], 1)
  order = np.argsort(table["row"], kind="stable")
  ends = np.searchsorted(
    table["row"][order], np.arange(len(table["videos"]) + 1), side="left"
  )
  spans = tuple(
    values[order[ends[row] : ends[row + 1]]] for row in source.labels
  )
  targets = np.zeros((len(spans), len(table["classes"])), bool)
  for place, span in enumerate(spans):
    targets[place, span[:, 0].astype(np.int64)] = True
  return MultiLabels(targets, tuple(map(str, table["classes"])), spans)


def _check(path: str, table: dict[str, np.ndarray]) -> None:
  """Refuses a table that contradicts itself."""
  lengths = {key: len(table[key]) for key in ("row", "label", "start", "end")}
  if len(set(lengths.values())) > 1:
    raise errors.UserError(f"labels {path}: arrays differ in length: {lengths}")
  for key, names in (("row", "videos"), ("label", "classes")):
    wrong = np.flatnonzero((table[key] < 0) | (table[key] >= len(table[names])))
    if len(wrong):
      raise errors.UserError(
        f"labels {path}: {key}[{wrong[0]}] is {table[key][wrong[0]]}, which is "
        f"not an index into its {len(table[names])} {names}"
      )
