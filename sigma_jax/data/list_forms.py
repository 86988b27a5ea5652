"""Which columns a list without a header has, told from its numbers.

Behind the path stand one to three whole numbers. Where two readings fit all
rows, nobody guesses: `data.list_form` decides.
"""

import numpy as np

from sigma_jax import errors
from sigma_jax.data import list_labels
from sigma_jax.data.parts import Parts
from sigma_jax.settings.data import LIST_FORMS

PATH, LABEL, FRAMES, START, START_LABEL = LIST_FORMS
# What stands behind the path.
NUMBERS = {PATH: 0, LABEL: 1, FRAMES: 2, START: 2, START_LABEL: 3}
_SHOWN = {
  PATH: "1 column: path",
  LABEL: "2 columns: path, label",
  FRAMES: "3 columns: path, frames (not used), label",
  START: "3 columns: path, first frame, number of frames",
  START_LABEL: "4 columns: path, first frame, number of frames, label",
}
_MEANS = {
  LABEL: "the path {longer!r} and the label {last}",
  FRAMES: "a file of {second} frames and label {last}",
  START: "{last} frames from frame {second} on, without a label",
}


def has_label(form: str) -> bool:
  """Whether the last column is one."""
  return form.endswith("label")


def fitting(columns: np.ndarray, classes: bool) -> list[str]:
  """Forms that all rows fit.

  Args:
    columns: int [k, n], k = 2 or 3 numbers behind each path.
    classes: whether labels are needed.

  Returns:
    Some of FRAMES and START, or of START_LABEL.
  """
  found = []
  for form, number in NUMBERS.items():
    needed = number == len(columns) and (has_label(form) or not classes)
    if needed and number > 1 and wrong_row(columns, form, classes) is None:
      found.append(form)
  return found


def wrong_row(columns: np.ndarray, form: str, classes: bool) -> int | None:
  """The first row, of int [k, n], that does not fit a form; None: all do."""
  right = columns[0] >= 0
  # Published lists say 0 of a few videos that are gone; of most, they are first
  # frames.
  if form == FRAMES and 2 * (columns[0] > 0).sum() <= columns.shape[1]:
    right &= columns[0] > 0
  if form in (START, START_LABEL):
    right &= (columns[1] > 0) | (columns[1] == -1)
  if has_label(form):  # behind two numbers, -1 is "to the end"
    right &= columns[-1] >= (-1 if form == START_LABEL and not classes else 0)
  wrong = np.flatnonzero(~right)
  return int(wrong[0]) if len(wrong) else None


def refuse_both(
  readings: tuple[str, str], numbers: np.ndarray, path: str, where: str
) -> None:
  """Raises UserError: two readings fit.

  Args:
    readings: two of LABEL, FRAMES and START.
    numbers: int [2 or 3], behind the first path.
    path: the first one, without them.
    where: file and line.
  """
  fields = {
    "longer": " ".join([path, *map(str, numbers[:-1])]),
    "second": numbers[0],
    "last": numbers[-1],
  }
  one, other = (_MEANS[form].format(**fields) for form in readings)
  raise errors.UserError(
    f"{where}: {' '.join([path, *map(str, numbers)])!r} may be {one}, or "
    f"{other}, and so may all rows: say which, by --config.data.list_form="
    f"{readings[0]} or {readings[1]} (--list-form of other commands)"
  )


def parts_of(columns: np.ndarray, form: str) -> Parts | None:
  """Windows of rows, of their numbers int [k, n]; None: all of each file."""
  if form not in (START, START_LABEL):
    return None
  found = Parts.of_frames(columns[0].astype(np.int64), columns[1])
  return None if found.are_whole else found


def labels_of(columns: np.ndarray, form: str) -> np.ndarray:
  """int32 [n] of int [k, n]; -1 where the form has none."""
  if has_label(form):
    return columns[-1].astype(np.int32)
  return np.full(columns.shape[1], -1, np.int32)


def shown(
  columns: str, labels: np.ndarray, names: tuple[str, ...], parts: Parts | None
) -> str:
  """What a list was taken for: a form or columns in words, and the classes."""
  text = _SHOWN.get(columns, columns)
  if columns in (START, START_LABEL) and parts is None:
    text += " (whole videos)"
  present = np.unique(labels)
  present = present[present >= 0].tolist()
  if names:  # "" is that of rows without
    present = [names[label] for label in present if names[label]]
  if not present:
    return f"{text}; no labels"
  text += f"; {len(present)} class{'es' if present[1:] else ''}"
  return f"{text} by name: {list_labels.listed(present)}" if names else text
