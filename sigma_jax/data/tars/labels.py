"""Labels of videos in tars, from the texts that stand beside them."""

import json
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow

from sigma_jax import errors
from sigma_jax.data import list_labels

KEY = "label"  # of .json files
_MAX_LABEL = np.iinfo(np.int32).max
# More names are captions, and would exhaust the memory as classes.
_MOST_CLASSES = 50_000


def check(wanted: str) -> None:
  """Raises UserError unless `wanted` is one of `data.tar_labels`."""
  kind, colon, key = wanted.partition(":")
  if wanted in ("", "cls", "txt", "json") or (kind == "json" and colon and key):
    return
  raise errors.UserError(
    f"data.tar_labels is {wanted!r}; it has to be cls, txt, json:KEY, or empty "
    f"for the first of cls, json:{KEY} and txt that there is"
  )


def of(
  rows: pyarrow.Table,
  where: str,
  *,
  wanted: str = "",
  classes: bool = True,
  names: Sequence[str] = (),
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Labels of the rows of an index.

  Args:
    rows: n, columns as in the index.
    where: the tars, for messages.
    wanted: `data.tar_labels`: what labels are taken from.
    classes: whether every row has to have one, a class index from 0 up or the
      name of a class.
    names: the classes that names count in, of the training split for the test
      split; (): the rows' own, sorted.

  Returns:
    int32 [n], -1 where there is none, and the names; () where they are numbers.

  Raises:
    UserError: a row has no such label; one line that names it.
  """
  check(wanted)
  kind, texts = _texts(rows, where, wanted, classes)
  lacking = next((row for row, text in enumerate(texts) if text is None), None)
  if classes and lacking is not None:
    raise errors.UserError(
      f"{where}: {_name(rows, lacking)} has no label ({kind}); to train or "
      "test by class each video needs one beside it: data.tar_labels says where"
    )
  given = [text for text in set(texts) if text is not None]
  if all(map(list_labels.INTEGER.fullmatch, given)) and not names:
    return _numbers(texts, where, kind, classes), ()
  return _named(texts, where, kind, names if classes else (), classes)


def _texts(
  rows: pyarrow.Table, where: str, wanted: str, classes: bool
) -> tuple[str, list[str | None]]:
  """Where labels are from, and each row's as it is written there."""
  kinds = ("cls", f"json:{KEY}", "txt")
  if wanted:
    kinds = (f"json:{KEY}" if wanted == "json" else wanted,)
  there = [k for k in kinds if rows[_suffix(k)].null_count < len(rows)]
  for place, kind in enumerate(there):
    texts = rows[_suffix(kind)].to_pylist()
    if key := kind.partition(":")[2]:
      texts = [
        _value(text, key, rows, row, classes) for row, text in enumerate(texts)
      ]
    texts = [(text or "").strip() or None for text in texts]
    if all(text is None for text in texts):
      continue
    others = " and ".join(f".{_suffix(k)}" for k in there[place + 1 :])
    also = f"; there is {others} too, data.tar_labels says which to take"
    print(
      f"{where}: labels are those of {kind}{also if others else ''}",
      file=sys.stderr,
      flush=True,
    )
    return kind, texts
  return " or ".join(kinds), [None] * len(rows)


def _suffix(kind: str) -> str:
  return kind.partition(":")[0]


def _value(
  text: str | None, key: str, rows: pyarrow.Table, row: int, classes: bool
) -> str | None:
  """A key's value in JSON text, as text; None: there is none."""
  if text is None:
    return None
  try:
    content = json.loads(text)
  except ValueError as error:
    if not classes:
      return None
    raise errors.UserError(
      f"{_name(rows, row)}: the .json beside it is no JSON ({error})"
    ) from error
  value = content.get(key) if isinstance(content, dict) else None
  if isinstance(value, float) and value.is_integer():  # tables made them so
    value = int(value)
  return str(value) if type(value) in (int, str) else None


def _name(rows: pyarrow.Table, row: int) -> str:
  return "/".join(rows[column][row].as_py() for column in ("shard", "name"))


def _numbers(
  texts: list[str | None], where: str, kind: str, classes: bool
) -> np.ndarray:
  numbers = [-1 if text is None else int(text) for text in texts]
  for number in (max(numbers, default=0), min(numbers, default=0)):
    if number > _MAX_LABEL or (number < 0 and classes):
      raise errors.UserError(
        f"{where}: label {number} ({kind}) is out of range; labels are class "
        "indices from 0 up, or names"
      )
  return np.maximum(np.array(numbers, np.int64), -1).astype(np.int32)


def _named(
  texts: list[str | None],
  where: str,
  kind: str,
  names: Sequence[str],
  classes: bool,
) -> tuple[np.ndarray, tuple[str, ...]]:
  # None, where that is allowed, is a name as in lists: features tell of it.
  texts = [text or "" for text in texts]
  own = sorted(set(texts))
  if classes and len(own) > _MOST_CLASSES:
    raise errors.UserError(
      f"{where}: {len(own)} different labels ({kind}), such as {own[0]!r}: are "
      "they captions? data.tar_labels says what else to take"
    )
  place = {name: number for number, name in enumerate(own)}
  found = np.array([place[text] for text in texts], np.int32)
  if not names:
    return found, tuple(own)
  where = f"{where} ({kind})"
  return list_labels.counted_in(names, found, tuple(own), where), tuple(names)
