"""Lists of millions of videos, read in blocks where every line is plain.

`list_lines` has the rules. A plain line is a path, a separator and digits, or
VideoMAE V2's `path 0 -1`, with no quote and no other blank, and most lists have
no other lines. Reading them so takes a fraction of the time of one line after
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
_BLOCK = 1 << 20  # bytes: what is made on the way stays small


def read(
  data: bytes, classes: bool = True
) -> tuple[list[str], np.ndarray] | None:
  """Paths and labels, int32 [n], of a list of plain lines.

  Args:
    data: the whole file.
    classes: whether every line has to have a label; False: -1 where there is
      none.

  Returns:
    What `list_lines.read` makes of it; None: not all lines are plain.
  """
  paths: list[str] = []
  labels = []
  for block in _blocks(data):
    places = _places(block)
    if places is None:
      return None
    values, (first, *more) = np.frombuffer(block, np.uint8), places[1]
    if more and (classes or not _are_whole(values, more[0], places[2])):
      return None
    numbers = _numbers(values, first + 1, more[0] if more else places[2])
    texts = _texts(block, places[0], first)
    if numbers is None or texts is None:
      return None
    if more:  # they were first frames
      numbers[:] = -1
    paths += texts
    labels.append(numbers)
  return (paths, np.concatenate(labels)) if labels else None


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
    int [n], [1 or 2, n] and [n].
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
  if len(separators) not in (len(ends), 2 * len(ends)):
    return None
  separators = separators.reshape(len(ends), -1).T
  bounds = [np.concatenate([[-1], ends[:-1]]), *separators, ends]
  if any((b - a < 2).any() for a, b in itertools.pairwise(bounds)):
    return None  # an empty column
  return bounds[0] + 1, separators, ends


def _are_whole(
  values: np.ndarray, separators: np.ndarray, ends: np.ndarray
) -> bool:
  """Whether all last columns are -1: not parts of videos, but to the end."""
  if (ends - separators != len("x-1")).any():
    return False
  signs, digits = values[separators + 1], values[separators + 2]
  return bool(((signs == ord("-")) & (digits == ord("1"))).all())


def _numbers(
  values: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray | None:
  """Digits between places as int32 [n]; None: there is something else."""
  widths = ends - starts
  if widths.max() > _MOST_DIGITS:
    return None
  numbers = np.zeros(len(starts), np.int32)
  for place in range(widths.max()):
    there = place < widths
    digits = values[np.where(there, starts + place, starts)].astype(np.int32)
    digits -= ord("0")
    if ((digits < 0) | (digits > 9)).any():
      return None
    numbers = np.where(there, numbers * 10 + digits, numbers)
  return numbers


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
