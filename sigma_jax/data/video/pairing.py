"""Which packet holds which frame, as far as headers of the packets tell.

A packet is not a frame: H.264 may code fields, packets may hold no picture or
several, or begin where no decoder can begin; and times in a container need not
tell the order of display. The headers of all packets are looked at, some
microseconds each. Where they say that every packet holds one picture, that
nothing is missing between them and in which order the decoder gives them,
frames can be found without decoding the file from its start. Of anything else
nothing is said: `index` decodes it once.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sigma_jax.data.video import avc, hevc, shown
from sigma_jax.data.video.bits import WINDOW
from sigma_jax.data.video.nal_units import Block, Unclear

_SCANS = {
  "h264": avc.Scan,
  "hevc": hevc.Scan,
  "vp8": lambda _: shown.Scan(shown.vp8),
  "vp9": lambda _: shown.Scan(shown.vp9),
  "av1": lambda _: shown.Scan(shown.av1),
  "mjpeg": lambda _: shown.Scan(shown.mjpeg),
}
_BLOCK_BYTES = 1 << 22  # of a file, read at once
_GAP_BYTES = 1 << 16  # between two packets, read rather than left out


@dataclasses.dataclass(frozen=True)
class Pairing:
  """How packets and frames pair.

  Attributes:
    order: int64 [n], the packet of each frame, in the order shown.
    starts: bool [packets], where decoding may begin.
    oriented: whether messages in the stream say how to turn its pictures.
  """

  order: np.ndarray
  starts: np.ndarray
  oriented: bool

  @property
  def num_frames(self) -> int:
    return len(self.order)


def knows(codec: str) -> bool:
  """Whether headers of this codec, by FFmpeg's name, can be read."""
  return codec in _SCANS


def pair(
  codec: str, extradata: bytes | None, held: int, blocks: Iterable[Block]
) -> Pairing | None:
  """What headers tell; None: not enough.

  Args:
    codec: FFmpeg's name.
    extradata: the container's header for the decoder, if there is one.
    held: frames that the decoder holds back to put them in order, at its start.
    blocks: all packets, in the order of the file.
  """
  if not knows(codec):
    return None
  try:
    scan = _SCANS[codec](extradata or b"")
    for block in blocks:
      scan.add(block)
    order = np.asarray(scan.order(held), np.int64)
  except (Unclear, ValueError, IndexError):
    return None
  if not len(order):
    return None
  return Pairing(order, scan.starts, scan.oriented)


def blocks_of(packets: Sequence) -> Iterator[Block]:
  """Of packets in memory."""
  sizes = np.array([packet.size for packet in packets], np.int64)
  ends = np.cumsum(sizes)
  data = b"".join([*map(bytes, packets), bytes(WINDOW)])
  yield Block.of(data, ends - sizes, sizes)


def blocks_at(
  places: np.ndarray,
  sizes: np.ndarray,
  read: Callable[[int, int], bytes],
) -> Iterator[Block]:
  """Of packets in a file.

  Args:
    places: int64 [n], where they begin.
    sizes: int64 [n], bytes.
    read: gives the bytes from a place on, so many.
  """
  first, ends = 0, places + sizes
  ahead = places[1:] - ends[:-1]
  cuts = set((np.flatnonzero((ahead < 0) | (ahead > _GAP_BYTES)) + 1).tolist())
  for number in range(1, len(places) + 1):
    if (
      number < len(places)
      and number not in cuts
      and ends[number] - places[first] <= _BLOCK_BYTES
    ):
      continue
    begin = places[first]
    data = read(int(begin), int(ends[number - 1] - begin) + WINDOW)
    part = slice(first, number)
    yield Block.of(data, places[part] - begin, sizes[part])
    first = number
