"""One door to videos: files of a list, members of tars, prepared records.

What a row is read from is decided here and nowhere else; sampling, cropping
and augmentation do not know.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sigma_jax import errors
from sigma_jax.data import class_folders, manifest, opening, storage
from sigma_jax.data.records import records
from sigma_jax.data.tars import names as tar_names
from sigma_jax.data.tars import source as tar_source
from sigma_jax.data.video.pixels import BoxOf


class Video(Protocol):
  """One opened video, to be used in a `with` and by one thread at a time.

  Attributes:
    num_frames: frames that may be asked for, at least 1.
  """

  num_frames: int

  def read(
    self,
    indices: np.ndarray,
    box_of: BoxOf | Sequence[BoxOf] | None = None,
    size: int = 0,
    antialias: bool = True,
  ) -> np.ndarray:
    """Frames, whole or cut.

    Args:
      indices: integers [n] from 0, in any order, repeats allowed.
      box_of: says what to cut out, once it is known how large the frames are;
        called once. Several: from one decoding, as each by itself would give.
        None: all of it, not resized.
      size: side of the square that a box is scaled to, pixels.
      antialias: of `settings.Data`.

    Returns:
      uint8 RGB, upright: [n, size, size, 3], bilinear; of several boxes
      [boxes, n, size, size, 3]; without box_of [n, height, width, 3].

    Raises:
      DecodeError: any of these frames cannot be had.
    """

  def times(self, indices: np.ndarray) -> np.ndarray:
    """When frames are shown.

    Args:
      indices: integers [n] from 0, of frames that have been read.

    Returns:
      float64 [n], seconds after the first frame; zeros where nothing tells.
    """

  def __enter__(self) -> "Video": ...

  def __exit__(self, *_) -> None: ...


class Source(Protocol):
  """n labelled videos.

  Attributes:
    path: what was opened, for messages.
    files: n names, for messages and lists of bad files.
    labels: int32 [n], -1 where there is none.
  """

  path: str
  files: tuple[str, ...]
  labels: np.ndarray

  def __len__(self) -> int: ...

  def open(self, row: int, timeout: float) -> Video:
    """Opens a row's video; `timeout` in seconds, to the end of its reads.

    Raises:
      DecodeError: it cannot be read.
    """

  def identify(self, row: int) -> list:
    """JSON-able: differs for another video, or one that was written anew.

    What is computed of a row is kept under this, and not under the row's
    number, which means another video as soon as the manifest is changed.
    """


class Files:
  """The files of a manifest as a Source; `classes` as the manifest's."""

  def __init__(self, rows: manifest.Manifest):
    self.path, self.files, self.labels = rows.path, rows.files, rows.labels
    self.classes, self._rows = rows.classes, rows

  def __len__(self) -> int:
    return len(self.files)

  def open(self, row: int, timeout: float) -> Video:
    return opening.opened(self._rows.address(row), timeout)

  def identify(self, row: int) -> list:
    """As `Source.identify`; looks at the local file."""
    return [self.files[row], opening.stamp(self._rows.address(row))]


def load(
  path: str,
  root: str = "",
  classes: bool = True,
  names: Sequence[str] = (),
  tar_labels: str = "",
) -> Source:
  """Opens what `data.train` or `data.val` names.

  Args:
    path: a manifest, the folder of prepared records (data.prepare), tars of
      videos (`tars.names`), or a local folder of videos or folders of frames.
    root: as for `manifest.load`; folders have no use for it.
    classes: as for `manifest.load`: whether labels have to be class indices. Of
      a folder of videos they are those of its class folders.
    names: the classes that those count from; (): the folder's own.
    tar_labels: `data.tar_labels`.

  Raises:
    FileNotFoundError, UserError: it is none of them; one line.
  """
  if records.is_prepared(path):
    found = records.Records(path)
    if not len(found):
      raise errors.UserError(f"records {path} hold no video")
    if classes and found.labels.min() < 0:
      raise errors.UserError(
        f"records {path} have no class indices: their list had none when they "
        "were prepared; prepare them from a list with one 'path label' a line"
      )
    return found
  if tar_names.are_meant(path):
    return tar_source.load(path, classes, names, tar_labels)
  if storage.is_dir(path) and not storage.is_remote(path):
    return Files(class_folders.load(path, classes, names))
  return Files(manifest.load(path, root, classes))


def identity(source: Source, labels: bool = True) -> str:
  """Sixteen hex digits that change with any row, or with their order.

  Paths count from the folder that all files are below, so that a data set which
  has moved is the same one; records are the manifest they were made from.

  Args:
    source: n rows.
    labels: whether they count; pre-training does not read them.
  """
  ends = [min(source.files), max(source.files)]
  # Letter by letter, and then back to a whole folder.
  start = os.path.commonprefix(ends).rfind("/") + 1  # noqa: RUF071
  names = "\n".join(file[start:] for file in source.files)
  digest = hashlib.sha256(names.encode(errors="surrogateescape"))
  if labels:
    digest.update(np.asarray(source.labels, "<i4").tobytes())
  return digest.hexdigest()[:16]


def part(source: Source, first: int, last: int) -> Source:
  """Rows first .. last - 1 as a source of their own."""
  return _Part(source, first, last)


class _Part:
  def __init__(self, source: Source, first: int, last: int):
    self._source, self._first = source, first
    self.path = source.path
    self.files = source.files[first:last]
    self.labels = source.labels[first:last]

  def __len__(self) -> int:
    return len(self.files)

  def open(self, row: int, timeout: float) -> Video:
    return self._source.open(self._first + row, timeout)

  def identify(self, row: int) -> list:
    return self._source.identify(self._first + row)


def take(source: Source, rows: np.ndarray) -> Source:
  """Some rows, int [m], as a source of their own, in this order."""
  return _Rows(source, rows)


class _Rows:
  def __init__(self, source: Source, rows: np.ndarray):
    self._source, self._rows = source, rows
    self.path = source.path
    self.files = tuple(source.files[row] for row in rows)
    self.labels = source.labels[rows]

  def __len__(self) -> int:
    return len(self.files)

  def open(self, row: int, timeout: float) -> Video:
    return self._source.open(int(self._rows[row]), timeout)

  def identify(self, row: int) -> list:
    return self._source.identify(int(self._rows[row]))


def key_of_rows(source: Source, first: int, last: int) -> str:
  """Rows first .. last - 1, who they are and their order, as hex digits."""
  found = [source.identify(row) for row in range(first, last)]
  return hashlib.sha256(json.dumps(found).encode()).hexdigest()
