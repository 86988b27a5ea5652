"""What a training and a test split must be for a result to mean anything."""

import concurrent.futures
import functools
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sigma_jax import errors
from sigma_jax.data import storage
from sigma_jax.data.video import frame_folder

# A split below this size is judged as if it had it: two missing files of
# twenty are an accident.
_LEAST = 150
_REMOTE_TRIED = 32
_THREADS = 16
_NAMED = 5  # classes shown of many


class Rows(Protocol):
  """A manifest or another source of labelled videos."""

  path: str
  files: Sequence[str]


def class_names(rows: Rows | None) -> tuple[str, ...]:
  """What a source's labels are called; () of numbers."""
  return getattr(rows, "classes", ())


def check_alike(train: Rows, test: Rows) -> None:
  """Refuses splits of which one has classes by name and the other by number.

  Raises:
    UserError: naming both.
  """
  if class_names(train) != class_names(test):
    one, other = (train, test) if class_names(train) else (test, train)
    raise errors.UserError(
      f"{one.path} has classes by name, and {other.path} by number: write "
      "them alike in both"
    )


def check_disjoint(train: Rows, test: Rows) -> None:
  """Refuses splits that share a file.

  Files are compared by path; linked folders are followed, linked and copied
  files are not.

  Raises:
    UserError: naming the manifests and the first file that both hold.
  """
  where = functools.cache(_real_folder)
  seen = {_place(file, where): row for row, file in enumerate(train.files)}
  both = [
    (row, file)
    for row, file in enumerate(test.files)
    if _place(file, where) in seen
  ]
  if both:
    row, file = both[0]
    raise errors.UserError(
      f"{file} is in the training split {train.path} (row "
      f"{seen[_place(file, where)]}) and in the test split {test.path} (row "
      f"{row}); {len(both)} files are in both: take them out of one"
    )


def check_classes(path: str, label_set: str, labels: np.ndarray) -> None:
  """Refuses training labels of which there is nothing to tell apart.

  Args:
    path: the manifest.
    label_set: name.
    labels: int [n].

  Raises:
    UserError: they are all the same.
  """
  classes = np.unique(labels)
  if len(classes) == 1:
    raise errors.UserError(
      f"only one class in {path}: all {len(labels)} rows are of class "
      f"{classes[0]} of label set {label_set!r}; any classifier would be right "
      "on it, so take a manifest of two or more"
    )


def check_shared(
  train: str,
  test: str,
  label_set: str,
  of_train: np.ndarray,
  of_test: np.ndarray,
) -> None:
  """Refuses splits without a class in common: no answer could be right.

  Args:
    train, test: the manifests.
    label_set: name.
    of_train, of_test: int [n] classes, or bool [n, c] of several.

  Raises:
    UserError: there is none.
  """
  trained, tested = _classes(of_train), _classes(of_test)
  if not len(np.intersect1d(trained, tested)):
    raise errors.UserError(
      f"no class of {test} is in {train}: of label set {label_set!r} it has "
      f"{_shown(tested)}, and the training rows have {_shown(trained)}; number "
      "the classes alike in both"
    )


def gaps(classes: np.ndarray) -> tuple[int, ...]:
  """Numbers from 0 to the largest that no row has: int [n] -> sorted."""
  present = np.unique(classes)
  return tuple(np.setdiff1d(np.arange(present[-1]), present).tolist())


def _classes(of_rows: np.ndarray) -> np.ndarray:
  if of_rows.ndim == 2:
    return np.flatnonzero(of_rows.any(axis=0))
  return np.unique(of_rows)


def _shown(classes: np.ndarray) -> str:
  more = ", ..." if len(classes) > _NAMED else ""
  return ", ".join(map(str, classes[:_NAMED].tolist())) + more


def check_present(split: str, test: Rows, max_bad_share: float) -> None:
  """Refuses a manifest whose files are not there, before hours of training.

  All files of this machine are looked for; of remote ones a few, since each is
  a request, and then only a split without any is refused.

  Args:
    split: `train` or `val`, for the message.
    test: rows of a manifest (the files of records are inside their shards).
    max_bad_share: data.max_bad_share, the share of bad files that a test goes
      on with. 1: whatever is missing.

  Raises:
    UserError: more than this share is missing, or all are.
  """
  if max_bad_share == 1:
    return
  files = list(dict.fromkeys(test.files))
  if any(map(storage.is_remote, files)):
    files = files[:: -(-len(files) // _REMOTE_TRIED)]
    max_bad_share = 1.0
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    there = list(pool.map(_is_there, files))
  missing = [file for file, yes in zip(files, there, strict=True) if not yes]
  allowed = max_bad_share * max(len(files), _LEAST)
  if len(missing) > allowed or len(missing) == len(files):
    raise errors.UserError(
      f"{len(missing)} of the {len(files)} files looked for of data.{split}, "
      f"{test.path}, are not there, the first is {missing[0]}; relative paths "
      "are taken from data.root, or from the manifest's folder where it is "
      "empty"
    )


def _is_there(path: str) -> bool:
  return storage.is_file(path) or frame_folder.is_one(path)


def unseen(
  train: np.ndarray, test: np.ndarray, names: Sequence[str]
) -> tuple[str, ...]:
  """Names of the classes that test rows have and no training row has.

  Args:
    train, test: int [n] classes, or bool [n, c] of several.
    names: of the c classes; none where repetitions are counted.
  """
  if not names:
    return ()
  if train.ndim == 2:
    only = test.any(axis=0) & ~train.any(axis=0)
    return tuple(names[i] for i in np.flatnonzero(only))
  return tuple(names[i] for i in np.setdiff1d(test, train))


def _real_folder(folder: str) -> str:
  return os.path.realpath(folder)


def _place(file: str, where) -> str:
  if storage.is_remote(file):
    return file
  folder, name = os.path.split(file)
  return os.path.join(where(folder), name)
