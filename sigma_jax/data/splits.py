"""What a training and a test split must be for a result to mean anything."""

import functools
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sigma_jax import errors
from sigma_jax.data import storage


class Rows(Protocol):
  """A manifest or another source of labelled videos."""

  path: str
  files: Sequence[str]


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


def _real_folder(folder: str) -> str:
  return os.path.realpath(folder)


def _place(file: str, where) -> str:
  if storage.is_remote(file):
    return file
  folder, name = os.path.split(file)
  return os.path.join(where(folder), name)
