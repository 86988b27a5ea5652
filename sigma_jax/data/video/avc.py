"""Which packets of an H.264 stream hold which frames, by their headers.

Sections and names as in ITU-T H.264, https://www.itu.int/rec/T-REC-H.264.
"""

import dataclasses
import functools

import numpy as np

from sigma_jax.data.video import display_order, nal_units
from sigma_jax.data.video.bits import Reader, Readers, headers
from sigma_jax.data.video.nal_units import Block, Unclear

_SLICE, _IDR, _SEI, _SPS = 1, 5, 6, 7
_RECOVERY, _ORIENTATION = 6, 47  # payload types of messages
# Profiles whose parameter sets tell the format of chroma (section 7.3.2.1.1).
_HIGH = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)


@dataclasses.dataclass(frozen=True)
class _Sequence:
  """Of a sequence parameter set, what slice headers are read by."""

  planes: bool  # separate_colour_plane_flag
  frame_bits: int  # of frame_num
  order_type: int  # pic_order_cnt_type
  order_bits: int  # of pic_order_cnt_lsb
  fields: bool  # pictures may be fields
  held: int  # frames held back; -1: not told


class Scan:
  """Collects the headers of all packets.

  Attributes:
    oriented: whether messages in the stream say how to turn its pictures.
    starts: bool [n], once `order` is known: where decoding may begin, after an
      IDR picture or at what the encoder calls a point of recovery.
  """

  def __init__(self, extradata: bytes):
    """Takes the container's parameter sets, as in `stored_sets`."""
    self._length_bytes, sets = nal_units.stored_sets(extradata, 5)
    self._sets = {s.rstrip(b"\0") for s in sets if s and s[0] & 31 == _SPS}
    self._parts, self._recovers, self.oriented = [], [], False

  def add(self, block: Block) -> None:
    """The next packets; Unclear if not each of them holds one picture."""
    packet, begin, end = nal_units.split(block, self._length_bytes)
    head = block.data[begin]
    kind = head & 31
    message = np.where(kind == _SEI, block.data[begin + 1], 0)
    self.oriented |= bool((message == _ORIENTATION).any())
    if not self._parts:  # of the first picture, all messages
      for place in np.flatnonzero((kind == _SEI) & (packet == 0)):
        unit = block.data[begin[place] + 1 : end[place]].tobytes()
        self.oriented |= nal_units.holds_message(unit, _ORIENTATION)
    recovers = np.zeros(len(block.begins), bool)
    recovers[packet[message == _RECOVERY]] = True
    for place in np.flatnonzero(kind == _SPS):
      stored = block.data[begin[place] : end[place]]
      self._sets.add(stored.tobytes().rstrip(b"\0"))
    if ((kind >= 2) & (kind <= 4)).any():  # slices cut in partitions
      raise Unclear
    first = ((kind == _SLICE) | (kind == _IDR)) & (
      block.data[begin + 1] >= 0x80  # first_mb_in_slice is 0
    )
    pictures = np.bincount(packet[first], minlength=len(block.begins))
    if (pictures != 1).any():
      raise Unclear
    chosen = np.flatnonzero(first)
    chosen = chosen[np.argsort(packet[chosen])]
    head, begin = head[chosen], begin[chosen]
    self._recovers.append(recovers)
    self._parts.append((head, *headers(block.data, begin + 1)))

  def order(self, held: int) -> np.ndarray:
    """Numbers of packets, in the order that their frames are shown.

    Args:
      held: frames that the decoder holds back where the stream does not say.

    Raises:
      Unclear, ValueError: headers do not tell.
    """
    if len(self._sets) != 1:
      raise Unclear
    sequence = _read_sequence(next(iter(self._sets)))
    fields = [_slices(sequence, *part) for part in self._parts]
    idr, is_ref, number, low = map(np.concatenate, zip(*fields, strict=True))
    if not idr[0] or not is_ref[idr].all():
      raise Unclear
    _check_numbers(idr, is_ref, number, 1 << sequence.frame_bits)
    self.starts = idr | np.concatenate(self._recovers)
    if sequence.order_type == 2:
      return np.arange(len(idr))
    held = held if sequence.held < 0 else sequence.held
    order = display_order.order_of(low, sequence.order_bits, idr, is_ref, held)
    if order[0]:
      raise Unclear
    return order


def _slices(
  sequence: _Sequence, head: np.ndarray, data: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, ...]:
  """Of n headers: is IDR, is reference, frame_num, low bits of the order."""
  readers = Readers(data, places)
  idr = head & 31 == _IDR
  readers.bits(1)  # first_mb_in_slice
  kind, pps = readers.codes(), readers.codes()
  if sequence.planes:
    readers.bits(2)
  number = readers.bits(sequence.frame_bits)
  is_field = readers.bits(1) if sequence.fields else np.zeros(1)
  if (
    (kind < 0) | (kind > 9) | (pps < 0) | (pps > 255)
  ).any() or is_field.any():
    raise Unclear
  readers.codes(idr)  # idr_pic_id
  low = np.zeros(len(head), np.int64)
  if sequence.order_type == 0:
    low = readers.bits(sequence.order_bits)
  return idr, head >> 5 & 3 > 0, number, low


def _check_numbers(idr, is_ref, number, modulus: int) -> None:
  """Raises Unclear where a reference frame is missing (section 7.4.3)."""
  last = np.maximum.accumulate(np.where(is_ref, np.arange(len(idr)), 0))
  expected = (number[np.append(0, last[:-1])] + 1) % modulus
  expected[idr] = 0
  if (number != expected).any():
    raise Unclear


@functools.lru_cache(maxsize=256)
def _read_sequence(stored: bytes) -> _Sequence:
  """Section 7.3.2.1.1; ValueError if it ends early."""
  reader = Reader(stored[1:])
  profile = reader.bits(8)
  reader.bits(16)
  reader.code()
  planes = False
  if profile in _HIGH:
    chroma = reader.code()
    planes = chroma == 3 and reader.bits(1) == 1
    reader.codes(2)
    reader.bits(1)
    if reader.bits(1):
      for number in range(12 if chroma == 3 else 8):
        if reader.bits(1):
          _skip_scaling(reader, 16 if number < 6 else 64)
  frame_bits, order_type, order_bits = reader.code() + 4, reader.code(), 0
  if order_type == 0:
    order_bits = reader.code() + 4
  elif order_type != 2:
    raise Unclear
  if max(frame_bits, order_bits) > 16:
    raise Unclear
  reader.code()
  reader.bits(1)
  reader.codes(2)
  fields = not reader.bits(1)
  if fields:
    reader.bits(1)
  reader.bits(1)
  if reader.bits(1):
    reader.codes(4)
  held = _held_back(reader) if reader.bits(1) else -1
  return _Sequence(planes, frame_bits, order_type, order_bits, fields, held)


def _skip_scaling(reader: Reader, size: int) -> None:
  """Section 7.3.2.1.1.1."""
  last = scale = 8
  for _ in range(size):
    if scale:
      scale = (last + reader.signed()) % 256
    last = scale or last


def _held_back(reader: Reader) -> int:
  """max_num_reorder_frames of annex E.1.1; -1: not told."""
  if reader.bits(1) and reader.bits(8) == 255:
    reader.bits(32)
  if reader.bits(1):
    reader.bits(1)
  if reader.bits(1):
    reader.bits(4)
    if reader.bits(1):
      reader.bits(24)
  if reader.bits(1):
    reader.codes(2)
  if reader.bits(1):
    reader.bits(65)
  timed = False
  for _ in range(2):
    if reader.bits(1):
      timed = True
      count = reader.code() + 1
      reader.bits(8)
      for _ in range(count):
        reader.codes(2)
        reader.bits(1)
      reader.bits(20)
  if timed:
    reader.bits(1)
  reader.bits(1)
  if not reader.bits(1):
    return -1
  reader.bits(1)
  reader.codes(4)
  return reader.code()
