"""How many frames packets show, of codecs that decode in the order shown.

VP8: RFC 6386, section 9.1. VP9: the bitstream specification, sections 6.2 and
annex B, https://www.webmproject.org/vp9/. AV1: sections 5.3 to 5.9 of
https://aomediacodec.github.io/av1-spec/.
"""

import numpy as np

from sigma_jax.data.video.nal_units import Block, Unclear

_VP9_KEY = b"\x49\x83\x42"
_VP8_KEY = b"\x9d\x01\x2a"
_FRAME_HEADER, _FRAME = 3, 6  # AV1's units


def vp8(packet: bytes) -> tuple[int, bool]:
  """Frames that a packet shows, and whether decoding may begin with it.

  Raises:
    Unclear: it is no such packet.
  """
  tag = int.from_bytes(packet[:3], "little")
  key = not tag & 1
  if len(packet) < 4 or tag >> 1 & 7 > 3 or tag >> 5 > len(packet):
    raise Unclear
  if key and packet[3:6] != _VP8_KEY:
    raise Unclear
  return tag >> 4 & 1, key


def vp9(packet: bytes) -> tuple[int, bool]:
  """As `vp8`; several frames may share a packet."""
  shown, key, place = 0, False, 0
  for number, size in enumerate(_vp9_sizes(packet)):
    if not size or place + size > len(packet):
      raise Unclear
    one, is_key = _vp9_frame(packet[place : place + min(size, 5)], size)
    shown += one
    key |= is_key and not number
    place += size
  return shown, key


def _vp9_sizes(packet: bytes) -> list[int]:
  """Of the frames in a packet, bytes."""
  last = packet[-1]
  if last & 0xE0 == 0xC0:
    width, count = (last >> 3 & 3) + 1, (last & 7) + 1
    index = packet[-2 - width * count :]
    if len(index) == 2 + width * count and index[0] == last:
      return [
        int.from_bytes(index[1 + width * i : 1 + width * (i + 1)], "little")
        for i in range(count)
      ]
  return [len(packet)]


def _vp9_frame(head: bytes, size: int) -> tuple[int, bool]:
  profile = head[0] >> 5 & 1 | head[0] >> 3 & 2
  bits = int.from_bytes(head[:2].ljust(2, b"\0"), "big") << (profile == 3)
  if head[0] >> 6 != 2:
    raise Unclear
  if bits >> 11 & 1:  # show_existing_frame
    if size > 2:
      raise Unclear
    return 1, False
  key = not bits >> 10 & 1
  if key and (profile == 3 or head[1:4] != _VP9_KEY):
    raise Unclear
  return bits >> 9 & 1, key


def av1(packet: bytes) -> tuple[int, bool]:
  """As `vp8`; a packet is a temporal unit."""
  shown, key, place = 0, False, 0
  while place < len(packet):
    head = packet[place]
    kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
    if head >> 7 or not sized:
      raise Unclear
    size, begin = _leb128(packet, place + 1 + extended)
    place = begin + size
    if place > len(packet) or (extended and packet[begin - 1] >> 3 & 3):
      raise Unclear  # cut off, or layers of several sizes
    if kind in (_FRAME_HEADER, _FRAME):
      # show_existing_frame, two bits of frame_type, show_frame
      head = packet[begin] >> 4
      key |= not shown and head >> 1 == 0
      shown += head >> 3 or head & 1
  return shown, key


def _leb128(packet: bytes, place: int) -> tuple[int, int]:
  """A number and where it ends; IndexError behind the packet."""
  value = 0
  for byte in range(8):
    value |= (packet[place] & 127) << 7 * byte
    place += 1
    if not packet[place - 1] >> 7:
      return value, place
  raise Unclear


def mjpeg(packet: bytes) -> tuple[int, bool]:
  """As `vp8`: every picture stands by itself."""
  if packet[:2] != b"\xff\xd8":
    raise Unclear
  return 1, True


class Scan:
  """Counts what packets show: as `avc.Scan`."""

  oriented = False

  def __init__(self, shows):
    """With one of the functions above."""
    self._shows, self._shown, self._keys = shows, [], []

  def add(self, block: Block) -> None:
    """The next packets; Unclear or IndexError if they are no such packets."""
    data = memoryview(block.data)
    for begin, end in zip(
      block.begins.tolist(), block.ends.tolist(), strict=True
    ):
      shown, key = self._shows(bytes(data[begin:end]))
      if shown > 1 or not (self._shown or key):
        raise Unclear
      self._shown.append(shown)
      self._keys.append(key)

  def order(self, held: int) -> list[int]:
    """As `avc.Scan.order`."""
    self.starts = np.array(self._keys, bool)
    return [number for number, shown in enumerate(self._shown) if shown]
