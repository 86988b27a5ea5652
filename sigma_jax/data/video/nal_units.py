"""The pieces that packets of H.264 and HEVC consist of."""

import dataclasses
import re

import numpy as np

from sigma_jax.data.video.bits import WINDOW, windows

_MOST = 512  # pieces of a packet


class Unclear(Exception):
  """Headers do not tell how packets and frames pair; decoding does."""


@dataclasses.dataclass(frozen=True)
class Block:
  """The bytes of some packets.

  Attributes:
    data: uint8, with WINDOW further bytes.
    begins: int64 [n], where each packet begins.
    ends: int64 [n], where it ends.
  """

  data: np.ndarray
  begins: np.ndarray
  ends: np.ndarray

  @classmethod
  def of(cls, data: bytes, begins: np.ndarray, sizes: np.ndarray) -> "Block":
    """Of bytes, and where n packets lie among them; some more may follow."""
    ends = begins + sizes
    if len(data) < ends[-1] + WINDOW:
      data += bytes(WINDOW)
    return cls(np.frombuffer(data, np.uint8), begins, ends)


def split(block: Block, length_bytes: int) -> tuple[np.ndarray, ...]:
  """Where the pieces of packets lie.

  Args:
    block: the packets.
    length_bytes: of the number before each piece; 0: start codes instead
      (H.264, annex B).

  Returns:
    Three of int64 [m]: number of the packet in the block, begin and end.

  Raises:
    Unclear: they do not fill the packets.
  """
  if not length_bytes:
    return _split_by_codes(block)
  lengths = windows(block.data, ">u4")
  packet, place = np.arange(len(block.begins)), block.begins
  found = []
  for _ in range(_MOST):
    length = lengths[place].astype(np.int64) >> 8 * (4 - length_bytes)
    begin = place + length_bytes
    place = begin + length
    end = block.ends[packet]
    if (length < 2).any() or (place > end).any():
      raise Unclear
    found.append((packet, begin, place))
    more = place < end
    if not more.any():
      return tuple(map(np.concatenate, zip(*found, strict=True)))
    packet, place = packet[more], place[more]
  raise Unclear


def _split_by_codes(block: Block) -> tuple[np.ndarray, ...]:
  codes = re.finditer(b"\0\0\1", block.data)
  begin = np.array([code.end() for code in codes], np.int64)
  packet = np.searchsorted(block.begins, begin, "right") - 1
  inside = (packet >= 0) & (begin < block.ends[packet])
  packet, begin = packet[inside], begin[inside]
  end = np.append(begin[1:] - 3, block.ends[-1])
  end = np.minimum(end, block.ends[packet])
  if (end - begin < 1).any():
    raise Unclear
  return packet, begin, end


def holds_message(unit: bytes, wanted: int) -> bool:
  """Whether a unit of messages (SEI, without its head) holds one of a kind.

  H.264, section 7.3.2.3.1; H.265, section 7.3.5.
  """
  unit, place = unit.replace(b"\0\0\3", b"\0\0"), 0
  while place + 2 < len(unit):
    told = []
    for _ in range(2):  # kind and size: sums of bytes up to one below 255
      value = 0
      while place < len(unit) and unit[place] == 255:
        value, place = value + 255, place + 1
      told.append(value + (unit[place] if place < len(unit) else 0))
      place += 1
    if told[0] == wanted:
      return True
    place += told[1]
  return False


def stored_sets(extradata: bytes, first: int) -> tuple[int, list[bytes]]:
  """Parameter sets of a container's header.

  Args:
    extradata: avcC or hvcC (ISO/IEC 14496-15), start codes, or nothing.
    first: where the lists begin, bytes: 5 in avcC, 22 in hvcC.

  Returns:
    `length_bytes` as for `split`, and the sets.

  Raises:
    IndexError: it is damaged.
  """
  if not extradata or extradata[0] != 1:
    return 0, [code.strip(b"\0") for code in extradata.split(b"\0\0\1")[1:]]
  place, sets = first, []
  lists = extradata[place] if first == 22 else 2
  place += first == 22
  for number in range(lists):
    if first == 22:
      count = int.from_bytes(extradata[place + 1 : place + 3], "big")
      place += 3
    else:
      count = extradata[place] & (31 if not number else 255)
      place += 1
    for _ in range(count):
      length = int.from_bytes(extradata[place : place + 2], "big")
      sets.append(extradata[place + 2 : place + 2 + length])
      place += 2 + length
  return (extradata[4 if first == 5 else 21] & 3) + 1, sets
