"""Tars of videos as rows that are read as files are."""

import dataclasses
import os
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow

from sigma_jax import errors
from sigma_jax.data import opening
from sigma_jax.data.layouts import files
from sigma_jax.data.manifest import Manifest
from sigma_jax.data.tars import index, labels, names
from sigma_jax.data.tars.member import Member


@dataclasses.dataclass(frozen=True)
class Tars(Manifest):
  """n videos of some tars, as a `manifest.Manifest` and a `sources.Source`.

  Attributes:
    tars: paths.
    stamps: of each, size in bytes and time of change in ns when indexed.
    places: int64 [n, 3], each video's tar, first byte and size.
  """

  tars: tuple[str, ...] = ()
  stamps: tuple[tuple[int, int], ...] = ()
  places: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros((0, 3), np.int64)
  )

  def address(self, row: int) -> Member:
    """As `Manifest.address`."""
    tar, offset, size = self.places[row].tolist()
    stamp = self.stamps[tar]
    return Member(self.files[row], self.tars[tar], stamp, offset, size)

  def open(self, row: int, timeout: float) -> opening.Opened:
    """As `sources.Source.open`."""
    return opening.opened(self.address(row), timeout)

  def identify(self, row: int) -> list:
    """As `sources.Source.identify`: its place in a tar, and the tar's stamp."""
    return [self.files[row], *opening.stamp(self.address(row))]


def load(
  path: str,
  classes: bool = True,
  of: Sequence[str] = (),
  tar_labels: str = "",
) -> Tars:
  """The videos of the tars that a path means; makes their index if need be.

  Args:
    path: one for which `names.are_meant`.
    classes: as for `manifest.load`.
    of: the classes that labels count in, of the training split for the test
      split; (): the tars' own.
    tar_labels: `data.tar_labels`.

  Raises:
    FileNotFoundError, UserError: a tar is missing or no good, none has a video,
      or a label that is needed is not there. One line.
  """
  labels.check(tar_labels)
  tars = names.of(path)
  parts = index.load(tars)
  rows = pyarrow.concat_tables([part.rows for part in parts])
  _tell_of_lone(tars, parts)
  if not len(rows):
    raise errors.UserError(
      f"no video in {path} ({', '.join(files.VIDEOS)}): nothing to read"
    )
  found, classes_of = labels.of(
    rows, path, wanted=tar_labels, classes=classes, names=of
  )
  counts = [len(part.rows) for part in parts]
  of_row = np.repeat(np.arange(len(tars)), counts)
  columns = [of_row, *(rows[name].to_numpy() for name in ("offset", "size"))]
  pairs = zip(of_row.tolist(), rows["name"].to_pylist(), strict=True)
  return Tars(
    path,
    tuple(os.path.join(tars[tar], name) for tar, name in pairs),
    found,
    classes_of,
    tars=tars,
    stamps=tuple(part.stamp for part in parts),
    places=np.stack(columns, -1),
  )


def _tell_of_lone(tars: Sequence[str], parts: list[index.Part]) -> None:
  """Warns of labels and texts without a video."""
  lone = [
    os.path.join(tar, name)
    for tar, part in zip(tars, parts, strict=True)
    for name in part.without
  ]
  if lone:
    print(
      f"warning: {len(lone)} samples have no video beside their texts and are "
      f"left out, the first is {lone[0]}",
      file=sys.stderr,
      flush=True,
    )
