"""Labels as lists write them: class numbers, or classes by name."""

import re
from collections.abc import Sequence

import numpy as np

from sigma_jax import errors

INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_LABEL = np.iinfo(np.int32).max
_SHOWN = 5  # names of many


def fits(label: str) -> bool:
  """Whether an integer is one of 32 bits."""
  return len(label) < 12 and abs(int(label)) <= _MAX_LABEL


def check(label: str, before: str | None, line: str, where: str) -> None:
  """Refuses a label that is no class.

  Args:
    label: as written.
    before: another one of the list; None: this is the first.
    line: what it stands in, for messages.
    where: file and line, for messages.

  Raises:
    UserError: a number that is none from 0 up, or a number among names, or a
      name among numbers.
  """
  number = bool(INTEGER.fullmatch(label))
  if not number and _NUMBER.fullmatch(label):
    raise errors.UserError(
      f"{where}: label {label!r} is not an integer in {line!r}; labels are "
      "class indices from 0 up, or classes by name"
    )
  if before is not None and number != bool(INTEGER.fullmatch(before)):
    kinds = ("a number", "a name") if number else ("not an integer", "a number")
    raise errors.UserError(
      f"{where}: label {label!r} is {kinds[0]} in {line!r}, and label "
      f"{before!r} before it is {kinds[1]}; write all classes by number, or "
      "all by name"
    )
  if number and (not fits(label) or int(label) < 0):
    raise errors.UserError(
      f"{where}: label {label} is out of range in {line!r}; labels are class "
      "indices from 0 up"
    )


def numbered(
  codes: dict[str | None, int], of_row: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Labels, int32 [n], and their names, from labels as written.

  Args:
    codes: label as written, or None -> its number in `of_row`, from 0.
    of_row: int [n].

  Returns:
    The numbers that labels are, -1 for None, and no names; or, where one of
    them is no number, places in the names, sorted.
  """
  texts = [text for text in codes if text is not None]
  if all(INTEGER.fullmatch(text) and fits(text) for text in texts):
    numbers = [-1 if text is None else int(text) for text in codes]
    return np.array(numbers, np.int32)[of_row], ()
  names = sorted({text or "" for text in codes})
  place = {name: number for number, name in enumerate(names)}
  numbers = [place[text or ""] for text in codes]
  return np.array(numbers, np.int32)[of_row], tuple(names)


def counted_in(
  names: Sequence[str], labels: np.ndarray, own: tuple[str, ...], where: str
) -> np.ndarray:
  """Labels of a list's own names as places in those of the training split.

  Args:
    names: of the training split.
    labels: int32 [n], places in `own`.
    own: the list's names.
    where: of the list, for messages.

  Raises:
    UserError: the training split lacks one.
  """
  place = {name: number for number, name in enumerate(names)}
  strange = [name for name in own if name not in place]
  if strange:
    more = f" and {len(strange) - 1} more" if strange[1:] else ""
    raise errors.UserError(
      f"{where} has the class {strange[0]!r}{more}, which the training split "
      f"lacks: it has {listed(names)}"
    )
  return np.array([place[name] for name in own], np.int32)[labels]


def listed(names: Sequence[str]) -> str:
  """The first few of many."""
  return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
