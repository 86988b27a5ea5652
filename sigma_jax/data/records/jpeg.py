"""Frames as JPEG, in tiles: only those that a crop needs are decoded.

Every frame is a plain baseline JPEG that any program reads. It has restart
markers between tiles, 16 rows high and 16 or 32 columns wide, at which coding
starts afresh, so the tiles under a crop make a smaller JPEG by themselves. A
restart costs 2 to 4% in size at 32 columns, and the usual crop of a 340 x 256
video (63% of its tiles) then decodes in two thirds of the time.
"""

import io
import struct
from collections.abc import Sequence

import av
import numpy as np
import PIL.Image
from av.codec.context import ThreadType

_MCU = 16  # pixels; the coded unit at 4:2:0
_MAX_SIDE = 65500  # of libjpeg
_EOI = b"\xff\xd9"
_SOF0, _SOS = 0xC0, 0xDA


def encode(frame: np.ndarray, quality: int) -> bytes:
  """Compresses a frame, 4:2:0, with a restart marker between tiles.

  Args:
    frame: uint8 [h, w, 3], RGB.
    quality: of libjpeg, 1 to 95.

  Raises:
    ValueError: the frame is larger than a JPEG can be.
  """
  if max(frame.shape[:2]) > _MAX_SIDE:
    raise ValueError(f"JPEG ends at {_MAX_SIDE} pixels, got {frame.shape[:2]}")
  out = io.BytesIO()
  PIL.Image.fromarray(frame).save(
    out,
    "JPEG",
    quality=quality,
    subsampling="4:2:0",
    optimize=True,
    restart_marker_blocks=_tile_units(frame.shape[1]),
  )
  return out.getvalue()


def _tile_units(width: int) -> int:
  """Coded units in a tile's width: 2 where whole rows hold an even number."""
  return 1 if -(-width // _MCU) % 2 else 2


class Tiled:
  """A JPEG of `encode`, of which parts can be taken.

  Attributes:
    width: pixels.
    height: pixels.
  """

  def __init__(self, data: bytes | memoryview):
    """Reads the header; raises ValueError where this is no baseline JPEG."""
    self._data = data
    self._size, self._start = _header(data)
    self.height, self.width = struct.unpack_from(">HH", data, self._size)

  def cut(
    self, box: tuple[int, int, int, int]
  ) -> tuple[bytes, tuple[int, int]]:
    """The tiles that a box touches, as a JPEG of their own.

    Args:
      box: x, y, width and height, pixels, inside the frame.

    Returns:
      The JPEG and where its corner lies in the frame, x and y, both multiples
      of 16.

    Raises:
      ValueError: tiles are missing.
    """
    data, size = self._data, self._size
    tile = _MCU * _tile_units(self.width)
    columns, rows = -(-self.width // tile), -(-self.height // _MCU)
    marks = self._marks(columns * rows)
    x, y, width, height = box
    left, right = x // tile, -(-(x + width) // tile)
    top, bottom = y // _MCU, -(-(y + height) // _MCU)
    height = min(self.height, bottom * _MCU) - top * _MCU
    width = min(self.width, right * tile) - left * tile
    parts = [
      data[:size],
      struct.pack(">HH", height, width),
      data[size + 4 : self._start],
    ]
    # A row's last marker parts it from the next row. Decoders that count
    # markers see gaps; FFmpeg's does not count.
    for first in range(top * columns, bottom * columns, columns):
      parts.append(data[marks[first + left] + 2 : marks[first + right] + 2])
    parts[-1] = parts[-1][:-2]
    parts.append(_EOI)
    return b"".join(parts), (left * tile, top * _MCU)

  def _marks(self, tiles: int) -> list[int]:
    """Offsets of the two bytes before each tile and after the last one."""
    coded = np.frombuffer(self._data, np.uint8, offset=self._start)
    marks = np.flatnonzero(coded[:-1] == 0xFF)
    # In coded data 0xFF is followed by 0 except in a marker, D0 to D7 here.
    marks = marks[(coded[marks + 1] & 0xF8) == 0xD0] + self._start
    if len(marks) != tiles - 1 or bytes(self._data[-2:]) != _EOI:
      raise ValueError(f"a JPEG of {len(marks) + 1} tiles, not {tiles}")
    return [self._start - 2, *marks.tolist(), len(self._data) - 2]


def _header(data: bytes | memoryview) -> tuple[int, int]:
  """Offsets of the height, which the width follows, and of the coded data."""
  place, size = 2, 0
  while place + 4 <= len(data) and data[place] == 0xFF:
    marker = data[place + 1]
    if marker == _SOF0:
      size = place + 5
    place += 2 + (data[place + 2] << 8 | data[place + 3])
    if marker == _SOS and size:
      return size, place
  raise ValueError("not a baseline JPEG")


def decode(images: Sequence[bytes]) -> list[av.VideoFrame]:
  """Decodes JPEGs to 4:2:0 frames, as FFmpeg's yuvj420p.

  Raises:
    ValueError, av.error.FFmpegError: one is damaged.
  """
  context = av.CodecContext.create("mjpeg", "r")
  context.thread_count, context.thread_type = 1, ThreadType.NONE
  frames = []
  for image in images:
    decoded = context.decode(av.Packet(image))
    if len(decoded) != 1 or decoded[0].is_corrupt:
      raise ValueError("a damaged JPEG")
    frames += decoded
  return frames
