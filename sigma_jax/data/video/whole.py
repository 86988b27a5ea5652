"""Whether a file is as long as its own parts say: nothing was cut off.

Matroska: RFC 9559; EBML, which it is made of: RFC 8794.
"""

from collections.abc import Callable

# Bytes of a file: from a place on, so many; fewer at its end.
Read = Callable[[int, int], bytes]

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_IN_SEGMENT = (
  _CLUSTER,
  0x114D9B74,
  0x1549A966,
  0x1654AE6B,
  0x1C53BB6B,
  0x1254C367,
  0x1043A770,
  0x1941A469,
  0xEC,
  0xBF,
)
_IN_CLUSTER = (0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF, 0xEC, 0xBF)


def avi(read: Read, size: int) -> bool:
  """Whether an AVI file of `size` bytes is whole."""
  place = 0
  while place < size:
    head = read(place, 8)
    length = int.from_bytes(head[4:], "little")
    if head[:4] != b"RIFF" or not length:
      break  # something else behind it; or nobody knew the length
    place += 8 + length
    place += place % 2
  return 0 < place <= size + 1


def matroska(read: Read, size: int) -> bool:
  """Whether a Matroska or WebM file of `size` bytes is whole.

  Its elements have to follow each other to the end. Where a recorder could not
  know the length of one, its content has to.
  """
  name, length, place = _head(read, 0)
  if name != _EBML or length is None:
    return False
  name, length, place = _head(read, place + length)
  end = size if length is None else place + length
  if name != _SEGMENT or end > size:
    return False
  inside, until = _IN_SEGMENT, end
  while place < end:
    name, length, begin = _head(read, place)
    if inside is _IN_CLUSTER and (place >= until or name in _IN_SEGMENT[:8]):
      inside, until = _IN_SEGMENT, end
    if name not in inside:
      return False
    if name == _CLUSTER:
      inside = _IN_CLUSTER
      until = end if length is None else begin + length
      place = begin
    elif length is None:
      return False
    else:
      place = begin + length
    if max(place, until) > end:
      return False
  return True


def _head(read: Read, place: int) -> tuple[int, int | None, int]:
  """An element's name, its length if known, and where its content begins."""
  head = read(place, 12).ljust(12, b"\0")
  width = 9 - head[0].bit_length()
  if width > 4:
    return 0, None, place
  name = int.from_bytes(head[:width], "big")
  digits = 9 - head[width].bit_length()
  if digits > 8:
    return 0, None, place
  length = int.from_bytes(head[width : width + digits], "big")
  length &= (1 << 7 * digits) - 1
  known = length != (1 << 7 * digits) - 1
  return name, length if known else None, place + width + digits
