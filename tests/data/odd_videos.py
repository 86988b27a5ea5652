"""Makes the videos of test_odd_videos.py; frames carry their number."""

from fractions import Fraction

import av
import numpy as np

SIDE = 64


def write(path, codec="libx264", count=20, first=0, stamps=None, **options):
  """A video of numbered frames 1/25 s apart, or at hundredths of seconds."""
  muxer = options.pop("muxer", {})
  side = options.pop("side", SIDE)
  stamps = [4 * i for i in range(count)] if stamps is None else stamps
  with av.open(str(path), "w", options=muxer) as out:
    stream = out.add_stream(codec, rate=25)
    stream.width = stream.height = side
    stream.pix_fmt, stream.options = "yuv420p", {"threads": "1"} | options
    stream.codec_context.time_base = Fraction(1, 100)
    for number, stamp in enumerate(stamps, first):
      frame = av.VideoFrame.from_ndarray(picture(number, side), format="rgb24")
      frame.pts, frame.time_base = stamp, Fraction(1, 100)
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return str(path)


def picture(number: int, side: int = SIDE) -> np.ndarray:
  """Eight fields, white for the bits of a number that are set."""
  image = np.zeros((side, side, 3), np.uint8)
  for bit in range(8):
    left = bit * side // 8
    image[:, left : left + side // 8] = 255 * (number >> bit & 1)
  return image


def numbers(frames) -> list[int]:
  """What `picture` was given."""
  return [
    sum(
      1 << bit
      for bit, field in enumerate(np.split(frame, 8, axis=1))
      if field.mean() > 127
    )
    for frame in frames
  ]


def copy(source, path, change, muxer=None):
  """Copies packets, which `change` takes as a list."""
  with (
    av.open(str(source)) as old,
    av.open(str(path), "w", options=muxer or {}) as new,
  ):
    stream = new.add_stream_from_template(old.streams.video[0])
    for packet in change([p for p in old.demux(video=0) if p.size]):
      packet.stream = stream
      new.mux(packet)
  return str(path)


class Bits:
  """Writes an H.264 header bit by bit."""

  def __init__(self, kind: int):
    self._head, self._bits = bytes([kind]), ""

  def put(self, count: int, value: int) -> "Bits":
    self._bits += format(value, f"0{count}b") if count else ""
    return self

  def codes(self, *values: int) -> "Bits":
    for value in values:
      bits = format(value + 1, "b")
      self._bits += "0" * (len(bits) - 1) + bits
    return self

  def align(self, bit: str) -> "Bits":
    self._bits += bit * (-len(self._bits) % 8)
    return self

  def raw(self, data: bytes) -> "Bits":
    self._bits += format(int.from_bytes(data, "big"), f"0{8 * len(data)}b")
    return self

  def unit(self) -> bytes:
    """With the stop bit, start code and emulation prevention."""
    bits = self._bits + "1"
    bits += "0" * (-len(bits) % 8)
    body, out = int(bits, 2).to_bytes(len(bits) // 8, "big"), bytearray()
    for byte in body:
      if out[-2:] == b"\0\0" and byte < 4:
        out.append(3)
      out.append(byte)
    return b"\0\0\0\1" + self._head + bytes(out)


def field_coded(count: int) -> bytes:
  """H.264 whose every frame is two fields of one flat macroblock, unpacked."""
  sequence = Bits(0x67).put(8, 77).put(8, 0).put(8, 40)
  sequence.codes(0, 4, 2, 2).put(1, 0).codes(0, 0)  # 16 x 32
  sequence.put(1, 0).put(1, 0).put(1, 1).put(1, 0).put(1, 0)
  sets = Bits(0x68).codes(0, 0).put(2, 0).codes(0, 0, 0).put(3, 0)
  sets.codes(0, 0, 0).put(3, 0)
  stream = sequence.unit() + sets.unit()
  for number in range(count):
    level = bytes([16 + 10 * number]) * 256 + bytes([128]) * 128
    for bottom in (0, 1):
      idr = number == bottom == 0
      field = Bits(0x65 if idr else 0x61).codes(0, 7, 0)
      field.put(8, number % 256).put(1, 1).put(1, bottom)
      if idr:
        field.codes(0).put(2, 0)
      else:
        field.put(1, 0)
      field.codes(0, 25)  # no change of the quantizer; plain samples
      field.align("0").raw(level)
      stream += field.unit()
  return stream
