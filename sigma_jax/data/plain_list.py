"""Lists of millions of videos, read in blocks where every line is plain.

`list_lines` has the rules. A plain line is a path and one to three whole
numbers, with one separator, no quote and no other blank, and most lists have no
other lines. Reading them so takes a fraction of the time of one line after
another.
"""

import itertools
from collections.abc import Iterator

import numpy as np

_BOM = b"\xef\xbb\xbf"
_BREAK = ord("\n")
_SEPARATORS = b" \t,"
_BLANKS = 33  # blanks and control characters are below
_MOST_DIGITS = 9  # more may not fit into 32 bits
_MOST_NUMBERS = 3  # behind a path
_BLOCK = 1 << 20  # bytes: what is made on the way stays small


def read(data: bytes) -> tuple[list[str], np.ndarray] | None:
  """Paths and what stands behind them, int32 [k, n], of plain lines.

  Args:
    data: the whole file.

  Returns:
    n paths and their k numbers, from 0 up; where they are several, the second
    may be -1. None: not all lines are plain, or not of the same k.
  """
  paths: list[str] = []
  columns = []
  for block in _blocks(data):
    places = _places(block)
    if places is None or (columns and len(columns[0]) != len(places[1])):
      return None
    values, (begins, separators, ends) = np.frombuffer(block, np.uint8), places
    bounds = [*separators, ends]
    numbers = [
      _numbers(values, a + 1, b, second=place == 1)
      for place, (a, b) in enumerate(itertools.pairwise(bounds))
    ]
    texts = _texts(block, begins, separators[0])
    if texts is None or any(column is None for column in numbers):
      return None
    paths += texts
    columns.append(np.stack(numbers))
  return (paths, np.concatenate(columns, axis=1)) if columns else None


def _blocks(data: bytes) -> Iterator[bytes]:
  """Whole lines, each ended by a line feed."""
  start = len(_BOM) if data.startswith(_BOM) else 0
  while start < len(data):
    end = data.find(b"\n", min(start + _BLOCK, len(data))) + 1 or len(data)
    block = data[start:end]
    if b"\r" in block:
      block = block.replace(b"\r\n", b"\n")
    yield block if block.endswith(b"\n") else block + b"\n"
    start = end


def _places(
  block: bytes,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
  """Where lines begin, are separated and end; None: not plain.

  Returns:
    int [n], [1 to 3, n] and [n].
  """
  present = [value for value in _SEPARATORS if value in block]
  if len(present) != 1 or b'"' in block:
    return None
  values = np.frombuffer(block, np.uint8)
  ends = np.flatnonzero(values == _BREAK)
  separators = np.flatnonzero(values == present[0])
  blanks = len(ends) + (len(separators) if present[0] < _BLANKS else 0)
  if np.sum(values < _BLANKS) != blanks:
    return None
  count, rest = divmod(len(separators), len(ends))
  if rest or not 0 < count <= _MOST_NUMBERS:
    return None
  separators = separators.reshape(len(ends), -1).T
  bounds = [np.concatenate([[-1], ends[:-1]]), *separators, ends]
  if any((b - a < 2).any() for a, b in itertools.pairwise(bounds)):
    return None  # an empty column
  return bounds[0] + 1, separators, ends


def _numbers(
  values: np.ndarray, starts: np.ndarray, ends: np.ndarray, second: bool
) -> np.ndarray | None:
  """Digits between places as int32 [n]; None: there is something else.

  `second`: whether it is a second number, which may be -1.
  """
  widths = ends - starts
  if widths.max() > _MOST_DIGITS:
    return None
  numbers = np.zeros(len(starts), np.int32)
  minus = None
  if second:
    minus = (widths == 2) & (values[starts] == ord("-"))
    minus &= values[starts + 1] == ord("1")
    starts, widths = np.where(minus, starts + 1, starts), widths - minus
  for place in range(widths.max()):
    there = place < widths
    digits = values[np.where(there, starts + place, starts)].astype(np.int32)
    digits -= ord("0")
    if ((digits < 0) | (digits > 9)).any():
      return None
    numbers = np.where(there, numbers * 10 + digits, numbers)
  return numbers if minus is None else np.where(minus, -numbers, numbers)


def _texts(
  block: bytes, starts: np.ndarray, ends: np.ndarray
) -> list[str] | None:
  """What stands between places; None: blanks that only Unicode knows do."""
  pairs = zip(starts.tolist(), ends.tolist(), strict=True)
  if block.isascii():
    text = block.decode("ascii")
    return [text[start:end] for start, end in pairs]
  # Names of files need not be UTF-8.
  found = [block[a:b].decode("utf-8", "surrogateescape") for a, b in pairs]
  if any(path[0].isspace() or path[-1].isspace() for path in found):
    return None
  return found
