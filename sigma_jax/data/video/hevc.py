"""Which packets of an HEVC stream hold which frames, by their headers.

Sections and names as in ITU-T H.265, https://www.itu.int/rec/T-REC-H.265.
"""

import dataclasses
import functools

import numpy as np

from sigma_jax.data.video import display_order, nal_units
from sigma_jax.data.video.bits import Reader, Readers, headers
from sigma_jax.data.video.nal_units import Block, Unclear

# Kinds of units (table 7-1). Slices are below 32; IRAP are those pictures that
# decoding may begin with, of which CRA go on counting.
_IRAP, _LAST_IRAP, _BLA, _LAST_BLA, _IDR, _LAST_IDR, _CRA = (
  16,
  23,
  16,
  18,
  19,
  20,
  21,
)
_SPS, _PPS, _END, _LAST_END, _SEI = 33, 34, 36, 37, 39
_LEADING = (6, 7, 8, 9)  # RADL and RASL
_ORIENTATION = 47  # payload type of a message


@dataclasses.dataclass(frozen=True)
class _Sequence:
  """Of a sequence parameter set, what pictures are ordered by."""

  planes: bool  # separate_colour_plane_flag
  order_bits: int  # of slice_pic_order_cnt_lsb
  held: int  # sps_max_num_reorder_pics


class Scan:
  """Collects the headers of all packets: as `avc.Scan`."""

  def __init__(self, extradata: bytes):
    """Takes the container's parameter sets, as in `stored_sets`."""
    self._length_bytes, sets = nal_units.stored_sets(extradata, 22)
    self._sets = {s.rstrip(b"\0") for s in sets if len(s) > 2}
    self._parts, self.oriented = [], False

  def add(self, block: Block) -> None:
    """The next packets; Unclear if not each of them holds one picture."""
    packet, begin, end = nal_units.split(block, self._length_bytes)
    kind = block.data[begin] >> 1 & 63
    layer = (block.data[begin] & 1) << 5 | block.data[begin + 1] >> 3
    kind = np.where(layer > 0, 63, kind)  # no part of the base picture
    message = block.data[begin + 2] == _ORIENTATION
    self.oriented |= bool((message & (kind == _SEI)).any())
    if not self._parts:  # of the first picture, all messages
      for place in np.flatnonzero((kind == _SEI) & (packet == 0)):
        unit = block.data[begin[place] + 2 : end[place]].tobytes()
        self.oriented |= nal_units.holds_message(unit, _ORIENTATION)
    for place in np.flatnonzero((kind == _SPS) | (kind == _PPS)):
      stored = block.data[begin[place] : end[place]]
      self._sets.add(stored.tobytes().rstrip(b"\0"))
    if ((kind == _END) | (kind == _LAST_END)).any():
      raise Unclear
    # first_slice_segment_in_pic_flag
    first = (kind < 32) & (block.data[begin + 2] >= 0x80)
    pictures = np.bincount(packet[first], minlength=len(block.begins))
    if (pictures != 1).any():
      raise Unclear
    chosen = np.flatnonzero(first)
    chosen = chosen[np.argsort(packet[chosen])]
    begin = begin[chosen]
    temporal = block.data[begin + 1] & 7
    found = headers(block.data, begin + 2)
    self._parts.append((kind[chosen], temporal, *found))

  def order(self, held: int) -> np.ndarray:
    """As `avc.Scan.order`; the stream always says what is held back."""
    sets = {33: [], 34: []}
    for one in self._sets:
      kind = one[0] >> 1 & 63
      if kind in sets and not one[0] & 1 and not one[1] >> 3:
        sets[kind].append(one)
    if len(sets[_SPS]) != 1 or not sets[_PPS]:
      raise Unclear
    sequence = _read_sequence(sets[_SPS][0])
    extra = {_extra_bits(Reader(one[2:])) for one in sets[_PPS]}
    if len(extra) != 1:
      raise Unclear
    kinds = np.concatenate([part[0] for part in self._parts])
    temporal = np.concatenate([part[1] for part in self._parts])
    low = np.concatenate(
      [_slices(sequence, *extra, kind, *part) for kind, _, *part in self._parts]
    )
    self.starts = (kinds >= _IRAP) & (kinds <= _LAST_IRAP)
    resets = (kinds >= _IDR) & (kinds <= _LAST_IDR)
    resets[0] = True
    broken = (kinds >= _BLA) & (kinds <= _LAST_BLA)
    if not self.starts[0] or broken.any():
      raise Unclear
    # Section 8.3.1: of the lowest layer in time, and used by others.
    leaf = (kinds < _IRAP) & (kinds % 2 == 0)
    anchors = (temporal == 1) & ~leaf & ~np.isin(kinds, _LEADING)
    order = display_order.order_of(
      low,
      sequence.order_bits,
      resets,
      anchors | resets,
      sequence.held,
      even=True,
    )
    if order[0]:
      raise Unclear  # pictures that lead a key frame whose past was cut off
    # Shown last before the count begins anew, and used by no other: the one
    # after it, which it needs, may be missing.
    ends = np.append(resets[order[1:]], True)
    if sequence.held and leaf[order[ends]].any():
      raise Unclear
    return order


def _slices(
  sequence: _Sequence,
  extra: int,
  kind: np.ndarray,
  data: np.ndarray,
  places: np.ndarray,
) -> np.ndarray:
  """Low bits of the order counts of n first slices, 7.3.6.1: int64 [n]."""
  readers = Readers(data, places)
  readers.bits(1)  # first_slice_segment_in_pic_flag
  key = (kind >= _IRAP) & (kind <= _LAST_IRAP)
  # no_output_of_prior_pics_flag: pictures are thrown away that were held back.
  if readers.bits(1, key)[1:].any():
    raise Unclear
  if (readers.codes() < 0).any():
    raise Unclear
  if extra:
    readers.bits(extra)
  if not np.isin(readers.codes(), (0, 1, 2)).all():  # slice_type
    raise Unclear
  if sequence.planes:
    readers.bits(2)
  idr = (kind >= _IDR) & (kind <= _LAST_IDR)
  return readers.bits(sequence.order_bits, ~idr)


@functools.lru_cache(maxsize=256)
def _read_sequence(stored: bytes) -> _Sequence:
  """Section 7.3.2.2.1; ValueError if it ends early."""
  reader = Reader(stored[2:])
  reader.bits(4)
  layers = reader.bits(3)
  reader.bits(1 + 96)
  if layers:  # profile_tier_level, section 7.3.3
    told = [(reader.bits(1), reader.bits(1)) for _ in range(layers)]
    reader.bits(2 * (8 - layers))
    for profile, level in told:
      reader.bits(88 * profile + 8 * level)
  reader.code()
  planes = reader.code() == 3 and reader.bits(1) == 1
  reader.codes(2)
  if reader.bits(1):
    reader.codes(4)
  reader.codes(2)
  order_bits = reader.code() + 4
  if order_bits > 16:
    raise Unclear
  for _ in range(layers + 1 if reader.bits(1) else 1):
    _, held, _ = reader.codes(3)
  return _Sequence(planes, order_bits, held)


def _extra_bits(reader: Reader) -> int:
  """num_extra_slice_header_bits of a picture parameter set, 7.3.2.3.1."""
  reader.codes(2)
  reader.bits(1)
  if reader.bits(1):  # output_flag_present_flag: some are never shown
    raise Unclear
  return reader.bits(3)
