"""Lists of videos and labels, as VideoMAE and SIGMA users keep them.

One `path label` a line, see `list_lines`; the list and its videos are local or
gs://.
"""

import dataclasses
import json
import os
import pathlib

import numpy as np

from sigma_jax import errors
from sigma_jax.data import list_lines, origins, storage
from sigma_jax.data.tars.member import Member

LABEL_SETS = "label_sets.json"  # beside a manifest, as layouts write it
# More are a mistake, such as numbers of videos, and would exhaust the memory.
_MOST_CLASSES = 50_000
# So are, from the first number on, fewer rows' classes than one in the second.
_FEW_CLASSES, _GAPS = 1000, 100
_BLOCK = 1 << 16  # rows


@dataclasses.dataclass(frozen=True)
class Manifest:
  """The rows of one manifest, in its order.

  Attributes:
    path: the manifest itself.
    files: n paths, absolute or relative to the working directory.
    labels: int32 [n]; -1 where there is none, if `load` was to allow that.
    classes: where labels are names, if that was allowed: all of them, sorted,
      and labels are places in it.
  """

  path: str
  files: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...] = ()

  @property
  def name(self) -> str:
    """The manifest's file name without its extension, such as `train`."""
    return pathlib.Path(self.path).stem

  def __len__(self) -> int:
    return len(self.files)

  def address(self, row: int) -> str | Member:
    """What a row is opened by: `opening.opened`."""
    return self.files[row]


def load(path: str, root: str = "", classes: bool = True) -> Manifest:
  """Reads a manifest; blank lines are skipped, nothing is opened.

  Args:
    path: the manifest.
    root: folder that relative paths are taken from; empty: the manifest's.
    classes: whether labels are used as classes: each has to be a whole number
      from 0 up. False: they may be anything, or missing.

  Raises:
    FileNotFoundError: there is no such manifest.
    UserError: it is empty, or a line is none of a manifest. One line with the
      file, line number and text.
  """
  if storage.is_dir(path):
    raise errors.UserError(
      f"manifest {path!r} is a folder; it has to be a text file with one "
      "'path label' a line"
    )
  if not storage.is_file(path):
    usual = (
      "set data.train or data.val to a text file with one 'path label' a line"
    )
    how = origins.hint(path) or usual
    raise FileNotFoundError(f"manifest {path!r} does not exist; {how}")
  lines = list_lines.read(storage.read(path), f"manifest {path}", classes)
  if not lines.paths:
    raise errors.UserError(
      f"manifest {path} is empty; it needs one 'path label' a line"
    )
  folder = os.path.join(root or os.path.dirname(path), "")
  files = lines.paths
  for first in range(0, len(files), _BLOCK):  # in place: there may be millions
    files[first : first + _BLOCK] = [
      file if file[0] == "/" or storage.is_remote(file) else folder + file
      for file in files[first : first + _BLOCK]
    ]
  return Manifest(str(path), tuple(files), lines.labels, lines.names)


def load_label_sets(
  path: str, manifest: Manifest
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
  """Classes of every row, one array a label set, and the classes' names.

  The file is JSON: `{"motion": {"names": ["left", ...], "of_label": [0, ...]},
  ...}`, where `of_label[i]` is the class of the manifest's label i.

  Args:
    path: the JSON file; empty: the manifest's label is the one set, "label".
    manifest: the rows, n of them.

  Returns:
    Classes, int32 [n] for each set, and class names for each set.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: it is not of this form, not the manifest's (see `are_of`), or a
      label or class is out of range; or labels are no class indices, but ids.
  """
  if manifest.labels.min() < 0:
    raise errors.UserError(f"{manifest.path} has rows without a class index")
  if not path:
    return {"label": manifest.labels}, {"label": _classes(manifest)}
  where = f"label sets {path} (data.label_sets)"
  if not storage.is_file(path):
    raise FileNotFoundError(f"{where}: no such file")
  if not are_of(path, manifest.path):
    raise errors.UserError(
      f"{where} are not those of {manifest.path}: neither its folder nor the "
      "one above holds this file; leave them out with "
      "--config.data.label_sets= , or copy them there if they are its own"
    )
  try:
    content = json.loads(storage.read(path))
  except ValueError as error:  # JSON and UTF-8 errors alike
    raise errors.UserError(f"{where}: not JSON: {error}") from error
  if not isinstance(content, dict) or not content:
    raise errors.UserError(
      f'{where}: needs {{"set": {{"names": [...], "of_label": [...]}}, ...}}'
    )
  labels, names = {}, {}
  for key, value in content.items():
    names[key], of_label = _label_set(value, f"{where}: set {key!r}")
    top = int(manifest.labels.max())
    if top >= len(of_label):
      raise errors.UserError(
        f"{where}: set {key!r} has {len(of_label)} entries in 'of_label', but "
        f"manifest {manifest.path} has label {top}"
      )
    labels[key] = of_label[manifest.labels]
  return labels, names


def are_of(label_sets: str, path: str) -> bool:
  """Whether label sets were written for a manifest.

  The numbers of one data set mean nothing in another, and nothing else would
  tell: so the same file, or a copy, has to be where the manifest is.

  Args:
    label_sets: the JSON file.
    path: a manifest or a folder of records.

  Returns:
    True where the manifest's folder or the one above it holds a file of this
    name and content.
  """
  if not storage.is_file(label_sets):
    return False
  here = path if storage.is_remote(path) else os.path.abspath(path)
  here = here if storage.is_dir(path) else os.path.dirname(here)
  for folder in (here, os.path.dirname(here.rstrip("/"))):
    copy = os.path.join(folder, os.path.basename(label_sets))
    if copy == label_sets or (
      storage.is_file(copy) and storage.read(copy) == storage.read(label_sets)
    ):
      return True
  return False


def _classes(manifest: Manifest) -> tuple[str, ...]:
  """Names of the classes that labels are, without label sets."""
  if named := getattr(manifest, "classes", ()):
    return named
  present = np.unique(manifest.labels)
  top = int(present[-1])
  # Ids of a data set's own, such as dates or a database's keys.
  sparse = top >= _FEW_CLASSES and top >= _GAPS * len(present)
  if top >= _MOST_CLASSES or sparse:
    raise errors.UserError(
      f"manifest {manifest.path} has label {top}, which would make {top + 1} "
      f"classes, and rows of {len(present)} classes; number them 0 to "
      f"{len(present) - 1}"
    )
  return tuple(map(str, range(top + 1)))


def _label_set(value, where: str) -> tuple[tuple[str, ...], np.ndarray]:
  """Names and of_label (int32) of one set, checked."""
  if not isinstance(value, dict) or {"names", "of_label"} - set(value):
    raise errors.UserError(f"{where}: needs 'names' and 'of_label'")
  names, of_label = value["names"], value["of_label"]
  if not isinstance(names, list) or not isinstance(of_label, list):
    raise errors.UserError(f"{where}: 'names' and 'of_label' must be lists")
  for position, index in enumerate(of_label):
    if type(index) is not int or not 0 <= index < len(names):
      raise errors.UserError(
        f"{where}: of_label[{position}] is {index!r}, which is not an index "
        f"into its {len(names)} names"
      )
  return tuple(map(str, names)), np.asarray(of_label, np.int32)
