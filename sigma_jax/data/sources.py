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
from sigma_jax.data import (
  class_folders,
  list_labels,
  manifest,
  opening,
  parts,
  storage,
)
from sigma_jax.data.records import records
from sigma_jax.data.tars import names as tar_names
from sigma_jax.data.tars import source as tar_source
from sigma_jax.data.video.pixels import BoxOf
from sigma_jax.settings.data import AS_TOLD, Reading


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

  Some have `classes`, names that labels are places in; `parts`, `parts.Parts`
  of its rows' files; and `form`, what a list was taken for in one line.
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
  """The files of a manifest, or parts of them, as a Source.

  Attributes:
    classes, parts, form: as the manifest's.
  """

  def __init__(self, rows: manifest.Manifest):
    self.path, self.files, self.labels = rows.path, rows.files, rows.labels
    self.classes, self.parts, self.form = rows.classes, rows.parts, rows.form
    self._rows = rows

  def __len__(self) -> int:
    return len(self.files)

  def open(self, row: int, timeout: float) -> Video:
    window = None if self.parts is None else self.parts[row]
    return opening.opened(self._rows.address(row), timeout, window)

  def whole_video(self, row: int) -> str:
    """The path of a row that is all of a video file; "" of any other row."""
    whole = self.parts is None or self.parts.take([row]).are_whole
    return opening.video_path(self._rows.address(row)) if whole else ""

  def identify(self, row: int) -> list:
    """As `Source.identify`; looks at the local file."""
    window = [] if self.parts is None else list(self.parts[row])
    return [self.files[row], opening.stamp(self._rows.address(row)), *window]


def load(
  path: str,
  root: str = "",
  classes: bool = True,
  names: Sequence[str] = (),
  reading: Reading = AS_TOLD,
) -> Source:
  """Opens what `data.train` or `data.val` names.

  Args:
    path: a manifest, the folder of prepared records (data.prepare), tars of
      videos (`tars.names`), or a local folder of videos or folders of frames.
    root: as for `manifest.load`; folders have no use for it.
    classes: as for `manifest.load`: whether labels are used as classes. Of a
      folder of videos they are those of its class folders.
    names: the classes that names count in, of the training split for the test
      split; (): the list's or folder's own, sorted.
    reading: `settings.Data.reading`.

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
    if names and found.classes:
      found.labels = list_labels.counted_in(
        names, found.labels, found.classes, f"records {path}"
      )
      found.classes = tuple(names)
    return found
  if tar_names.are_meant(path):
    return tar_source.load(path, classes, names, reading.tar_labels)
  if storage.is_dir(path) and not storage.is_remote(path):
    return Files(class_folders.load(path, classes, names))
  return Files(manifest.load(path, root, classes, names, reading.list_form))


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
  if (windows := _parts(source)) is not None:
    digest.update(windows.tobytes())
  if labels:
    digest.update(np.asarray(source.labels, "<i4").tobytes())
  return digest.hexdigest()[:16]


def names(source: Source) -> tuple[str, ...]:
  """Of n rows, for messages and lists of bad files: the file, and what of it.

  Two rows of one name are the same frames.
  """
  if (windows := _parts(source)) is None:
    return source.files
  return tuple(
    name_of_part(file, windows[row]) for row, file in enumerate(source.files)
  )


def name(source: Source, row: int) -> str:
  """One of `names`."""
  windows = _parts(source)
  file = source.files[row]
  return file if windows is None else name_of_part(file, windows[row])


def name_of_part(file: str, window: parts.Window | None) -> str:
  """Such as "a.mp4 (seconds 2 to 5)"; the file alone, where it is all of it."""
  whole = window is None or (not window.start and window.end is None)
  return file if whole else f"{file} ({window})"


def _parts(source: Source) -> parts.Parts | None:
  return getattr(source, "parts", None)


def part(source: Source, first: int, last: int) -> Source:
  """Rows first .. last - 1 as a source of their own."""
  return _Part(source, first, last)


class _Part:
  def __init__(self, source: Source, first: int, last: int):
    self._source, self._first = source, first
    self.path = source.path
    self.files = source.files[first:last]
    self.labels = source.labels[first:last]
    windows = _parts(source)
    self.parts = None if windows is None else windows.take(slice(first, last))

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
    windows = _parts(source)
    self.parts = None if windows is None else windows.take(rows)

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
