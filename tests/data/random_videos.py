"""Small videos at random: coded, packed, cut and joined in many ways.

What is right is a plain decode from first to last (`sequential`): every packet
in turn, those that the decoder refuses left out, as players do.
"""

import os
import pathlib
import shutil
from fractions import Fraction

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "0")  # what an encoder prints
# Codec, containers that take it, and options of its encoder to draw from.
_GROUPS = {"g": ("1", "3", "5", "9", "250")}
_B = {"bf": ("0", "1", "2", "4")}
CODECS = {
  "libx264": (
    ("mp4", "mov", "mkv", "ts", "flv", "avi", "nut"),
    _GROUPS
    | _B
    | {
      "b-pyramid": ("none", "strict", "normal"),
      "refs": ("1", "3", "6"),
      "slices": ("1", "4"),
      "flags": ("", "+ildct+ilme", "+cgop"),
      "preset": ("ultrafast", "veryfast", "medium"),
      "x264-params": (
        *("", "open-gop=1", "intra-refresh=1", "nal-hrd=vbr:vbv-maxrate=9"),
        *("aud=1", "weightp=0:b-adapt=0", "annexb=0"),
      ),
    },
  ),
  "libx265": (
    ("mp4", "mkv", "ts"),
    _GROUPS
    | {
      "x265-params": (
        *("bframes=0", "bframes=3", "bframes=4:b-pyramid=1:open-gop=1"),
        *("repeat-headers=1:aud=1", "bframes=2:no-open-gop=1"),
      )
    },
  ),
  "libvpx": (
    ("webm", "mkv", "ivf", "avi"),
    _GROUPS | {"auto-alt-ref": ("0", "1"), "lag-in-frames": ("0", "9")},
  ),
  "libvpx-vp9": (
    ("webm", "mp4", "mkv", "ivf"),
    _GROUPS
    | {
      "auto-alt-ref": ("0", "1"),
      "lag-in-frames": ("0", "12"),
      "error-resilient": ("0", "1"),
    },
  ),
  "libsvtav1": (
    ("mp4", "mkv", "webm", "ivf"),
    {"g": ("5", "250"), "preset": ("12",), "svtav1-params": ("pred-struct=1",)},
  ),
  "mpeg4": (("avi", "mp4", "mkv", "nut"), _GROUPS | _B),
  "mpeg2video": (
    ("ts", "mpg", "mkv", "avi"),
    _GROUPS | _B | {"flags": ("", "+ildct+ilme")},
  ),
  "mpeg1video": (("mpg", "mkv"), _GROUPS | _B),
  "mjpeg": (("avi", "mov", "mkv", "mp4"), {}),
  "ffv1": (("mkv", "avi"), _GROUPS),
  "prores_ks": (("mov", "mkv"), {}),
  "h263": (("mov", "avi"), _GROUPS),
  "flv": (("flv",), _GROUPS),
  "wmv2": (("asf", "avi"), _GROUPS),
  "msmpeg4": (("avi", "asf"), _GROUPS),
}
_PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
_MUXERS = {"ts": "mpegts", "mpg": "mpeg", "mkv": "matroska"}
_FRAGMENTS = "frag_keyframe+empty_moov"
# Of an H.264 stream, without a picture: an access unit's mark, a stream's end.
_EMPTY = (b"\x09\xf0", b"\x0b\x80")


def draw_picture(number: int, height: int, width: int) -> np.ndarray:
  """Blocks that move, below a brightness that tells the number."""
  blocks = np.random.default_rng(7).integers(
    0, 200, (height // 8 + 1, width // 8 + 1, 3), np.uint8
  )
  image = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
  image = np.roll(image, 3 * number, 1)
  image[:8] = number * 37 % 256
  return np.ascontiguousarray(image)


class Video:
  """A file of a seed.

  Attributes:
    path: where it is.
    kind: what was drawn, for messages.
    changed: whether packets were left out, added or given other times.
  """

  def __init__(self, folder: pathlib.Path, seed: int):
    """Writes it."""
    self._rng = rng = np.random.default_rng(seed)
    self._codec = str(rng.choice(list(CODECS), p=_shares()))
    containers, choices = CODECS[self._codec]
    self._suffix = str(rng.choice(containers))
    self._options = {
      name: value
      for name, values in choices.items()
      if (value := str(rng.choice(values)))
    }
    self._changes = []
    whole = self._written(folder / f"{seed}-whole.{self._suffix}")
    self.path = str(folder / f"{seed}.{self._suffix}")
    self._copy(whole, self.path)
    if self._suffix == "ts":
      self._change_transport()
    self.changed = bool(self._changes)

  @property
  def kind(self) -> str:
    return f"{self._codec} in {self._suffix}: {self._options} {self._changes}"

  def _written(self, path: pathlib.Path) -> str:
    rng, codec = self._rng, self._codec
    count, rate = int(rng.integers(1, 40)), int(rng.choice([24, 25, 50, 60]))
    height, width = (rng.integers(8, 20, 2) * 4).tolist()
    if codec == "h263":
      height, width = 96, 128
    elif codec == "libx265":  # it writes where it should not below that
      height, width = height + 32, width + 32
    stamps = np.arange(count)
    if rng.random() < 0.3 and self._suffix not in ("avi", "mpg", "ivf"):
      stamps = np.cumsum(rng.integers(1, 9, count))
    options, muxer = {"threads": "1"} | self._options, {}
    if codec == "libx265":
      params = options["x265-params"]
      options["x265-params"] = (
        f"log-level=none:pools=1:frame-threads=1:{params}"
      )
    if self._suffix in ("mp4", "mov") and rng.random() < 0.2:
      muxer["movflags"] = _FRAGMENTS
    form = _MUXERS.get(self._suffix, self._suffix)
    with av.open(str(path), "w", format=form, options=muxer) as out:
      stream = out.add_stream(codec, rate=rate)
      stream.height, stream.width = height, width
      stream.pix_fmt, stream.options = _PIXELS.get(codec, "yuv420p"), options
      stream.codec_context.time_base = Fraction(1, rate)
      for number, stamp in enumerate(stamps.tolist()):
        frame = av.VideoFrame.from_ndarray(
          draw_picture(number, height, width), format="rgb24"
        )
        frame.pts, frame.time_base = stamp, Fraction(1, rate)
        out.mux(stream.encode(frame))
      out.mux(stream.encode(None))
    return str(path)

  def _copy(self, source: str, path: str) -> None:
    """Copies packets, some of them changed, unless the muxer refuses."""
    options = {}
    if self._suffix in ("mp4", "mov") and self._rng.random() < 0.5:
      options["avoid_negative_ts"] = "disabled"
    with av.open(source) as file:
      stream = file.streams.video[0]
      packets = [p for p in file.demux(stream) if p.size]
      packets = self._changed(packets)
      form = _MUXERS.get(self._suffix, self._suffix)
      try:
        with av.open(path, "w", format=form, options=options) as out:
          copy = out.add_stream_from_template(stream)
          for packet in packets:
            packet.stream = copy
            out.mux(packet)
      except (av.error.FFmpegError, ValueError):
        self._changes = []
        shutil.copy(source, path)

  def _changed(self, packets: list) -> list:
    rng = self._rng
    changes = ("head", "tail", "loss", "order", "empty", "equal", "early", "")
    for change in rng.choice(changes, int(rng.integers(0, 3))).tolist():
      count = len(packets)
      place = int(rng.integers(count))
      timed = all(p.pts is not None and p.dts is not None for p in packets)
      if change == "head":
        packets = packets[place:]
      elif change == "tail":
        packets = packets[: place + 1]
      elif change == "loss" and count > 1:
        packets = packets[:place] + packets[place + 1 :]
      elif change == "order" and timed:  # as copied from AVI
        stamps = sorted(p.pts for p in packets)
        for packet, stamp in zip(packets, stamps, strict=True):
          packet.pts = packet.dts = stamp
      elif change == "empty" and self._codec == "libx264":
        packets.insert(place + 1, self._empty(packets[place]))
      elif change == "equal" and timed and place:
        packets[place].pts = packets[place - 1].pts
      elif change == "early" and timed:  # an edit list leaves some out
        start = packets[place].pts
        for packet in packets:
          packet.pts, packet.dts = packet.pts - start, packet.dts - start
      else:
        continue
      self._changes.append(change)
    return packets

  def _empty(self, before: av.Packet) -> av.Packet:
    """A packet without a picture."""
    data = _EMPTY[int(self._rng.integers(2))]
    by_length = bytes(before)[:3] != b"\0\0\0" or bytes(before)[3] != 1
    head = len(data).to_bytes(4, "big") if by_length else b"\0\0\0\1"
    packet = av.Packet(head + data)
    packet.pts, packet.dts = before.pts, before.dts
    packet.time_base = before.time_base
    return packet

  def _change_transport(self) -> None:
    """Loses transport packets, begins late, or joins two recordings."""
    change = str(self._rng.choice(["lost", "late", "joined", "", ""]))
    data = pathlib.Path(self.path).read_bytes()
    place = 188 * int(self._rng.integers(3, max(len(data) // 188, 4)))
    if change == "lost":
      data = data[:place] + data[place + 188 :]
    elif change == "late":
      data = data[: 3 * 188] + data[place:]
    elif change == "joined":
      data += data
    else:
      return
    self._changes.append(change)
    pathlib.Path(self.path).write_bytes(data)


def _shares() -> np.ndarray:
  """Most files are H.264, to which most can happen."""
  shares = {"libx264": 14.0, "libx265": 4.0}
  found = np.array([shares.get(codec, 1.0) for codec in CODECS])
  return found / found.sum()


def sequential(path: str) -> tuple[list[np.ndarray], list[int | None]]:
  """Frames of a plain decode, as stored: uint8 [h, w, 3]; and their stamps."""
  frames, stamps = [], []
  with av.open(path, metadata_errors="ignore") as container:
    stream = container.streams.best("video")
    stream.codec_context.thread_count = 1
    for packet in container.demux(stream):
      try:
        decoded = stream.decode(packet)
      except av.error.FFmpegError:
        continue
      for frame in decoded:
        frames.append(frame.to_ndarray(format="rgb24"))
        stamps.append(frame.pts)
    base = float(stream.time_base)
  return frames, [stamp and stamp * base for stamp in stamps]
