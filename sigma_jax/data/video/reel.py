"""A video of any length read once from its beginning to its end.

`decode.Clip` holds a file's packets in memory, so that a clip can be cut from
anywhere. A reel holds none: the file is gone through once for the times and the
headers of its packets, and once more to decode what is wanted. Frames are those
of `Clip.read`, bitwise.
"""

import collections
import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np

from sigma_jax.data import memory
from sigma_jax.data.video import containers, deadline, index, packets, pairing
from sigma_jax.data.video.containers import DecodeError, one_error
from sigma_jax.data.video.decoder import Decoder, decoded_index
from sigma_jax.data.video.nal_units import Block
from sigma_jax.data.video.orientation import View
from sigma_jax.data.video.pixels import BoxOf, Pixels, check_size

_GRACE = 20.0  # seconds that a call into FFmpeg may go on past its time
_REORDERED = 32  # frames after one that is missing, until it is given up
_BLOCK_BYTES = 1 << 22


class _Head(NamedTuple):
  """What is kept of a packet."""

  duration: int | None
  is_discard: bool
  is_keyframe: bool


class _Heads(packets.Packets):
  """As Packets, with a `_Head` in place of each packet."""

  def __init__(self, *args, timeout: float):
    self._seconds_to_open = timeout
    self._kinds: dict[_Head, _Head] = {}  # few: nearly all packets are alike
    super().__init__(*args)

  def _keep(self, packet) -> None:
    head = _Head(packet.duration, packet.is_discard, packet.is_keyframe)
    self.read.append(self._kinds.setdefault(head, head))

  def _pair_read(self) -> None:
    hidden = np.array([head.is_discard for head in self.read])
    with containers.opened(self._file, self._seconds_to_open) as container:
      stream = container.streams[self._stream.index]
      self._take(_blocks(_filled(container.demux(stream))), hidden)


class Reel:
  """One file: `with Reel(path, timeout) as reel: reel.read(...)`.

  Files whose headers do not tell which packet holds which frame (AVI, MPEG-4
  part 2 and others, see `pairing`) are decoded once more, to count.

  Attributes:
    num_frames: as of `Clip`.
    times: float64 [n], when each is shown, seconds after the first.
  """

  def __init__(self, path: str, timeout: float):
    """Goes through the file once.

    Args:
      path: local, of any size; or gs://, held in memory.
      timeout: seconds allowed from here on, and for each group of `read`; one
        more for each MiB of the file.

    Raises:
      DecodeError: missing, empty, no video, truncated, absurd, too slow.
      UserError: there is no way to read such paths.
    """
    self._path, self._timeout = path, timeout
    self._container = self._decoder = self._view = self._index = None
    self._file = containers.readable(path, held=False)
    local = isinstance(self._file, str)
    size = os.stat(self._file).st_size if local else len(self._file.getvalue())
    self._allowed = timeout + size / (1 << 20)
    try:
      self._bounded(self._inspect)
    except DecodeError:
      self.close()
      raise
    memory.give_back()

  def __enter__(self) -> "Reel":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Frees the file; twice does no harm."""
    for opened in (self._decoder, self._container):
      if opened is not None:
        opened.close()
    self._container = self._decoder = None

  def read(
    self,
    groups: Sequence[np.ndarray],
    box_of: BoxOf,
    size: int,
    antialias: bool = True,
  ) -> Iterator[np.ndarray]:
    """Frames of one group after the other, cut and scaled: as `Clip.read`.

    Every frame is decoded once at most. Between two frames wanted, decoding
    begins again at the key frame before the second where there is one.

    Args:
      groups: each integers [n], increasing, and beyond those before.
      box_of, size, antialias: as of `Clip.read`.

    Yields:
      uint8 [n, size, size, 3] of each group.

    Raises:
      DecodeError: any of them cannot be had in time.
    """
    coming = self._frames(np.concatenate(groups).tolist())
    try:
      for group in groups:
        places = group.tolist()
        pixels = Pixels(len(places), box_of, size, antialias, self._view_of)
        self._bounded(lambda: pixels.pick(coming, places))  # noqa: B023
        memory.give_back()
        yield pixels.frames[0]
    finally:
      if self._decoder is not None:  # else it was left behind, and runs
        coming.close()

  def _bounded(self, call) -> None:
    self._deadline = time.monotonic() + self._allowed
    problem = "not a readable video: damaged, cut short or no video at all"
    if self._decoder is not None:
      problem = "damaged: its frames cannot be decoded"

    def checked():
      with one_error(self._path, problem):
        call()

    try:
      deadline.within(self._allowed + _GRACE, checked)
    except deadline.Overdue as error:
      # The call may still use them: closing is its business now.
      self._container = self._decoder = None
      raise DecodeError(
        self._path, "stalled: no answer from the disk or from the decoder"
      ) from error

  def _check_time(self) -> None:
    if time.monotonic() > self._deadline:
      raise DecodeError(self._path, f"timeout after {self._allowed:.0f} s")

  def _inspect(self) -> None:
    self._container = containers.opened(self._file, self._timeout)
    stream = containers.video_stream(self._path, self._container)
    self._stream = stream.index
    self._decoder = Decoder(self._file, stream, self._timeout, self._check_time)
    context = self._decoder.context
    self._stated = context.width, context.height
    check_size(self._path, *self._stated)
    key = index.key_of(self._path, self._file)
    known = index.recall(key)
    self._heads = heads = _Heads(
      self._path,
      self._file,
      self._container,
      stream,
      self._check_time,
      known,
      timeout=self._timeout,
    )
    if heads.num_frames is None:
      heads.all()
      if not isinstance(known, index.Index):
        frames = self._from_start()
        known = decoded_index(self._path, self._decoder, frames, heads.seconds)
      self._index, self._view, self.times = known, known.view, known.times
    else:
      heads.all()
      self.times = heads.seconds()
    self.num_frames = len(self.times)
    index.keep(key, self._index or heads.pairing)

  def _frames(self, places: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames at increasing places, in turn, and these places."""
    wanted = collections.deque(places)
    chosen = np.zeros(self.num_frames, bool)
    chosen[places] = True
    # Some streams' key frames do not stand alone: from the very start.
    ways = (self._whole,) if self._index else (self._stretches, self._whole)
    for way in ways:
      held: dict[int, av.VideoFrame] = {}
      for place, frame in way(list(wanted)):
        if chosen[place] and place >= wanted[0]:
          held[place] = frame
        while wanted and wanted[0] in held:
          yield wanted[0], held.pop(wanted.popleft())
        if not wanted:
          return
        if len(held) > _REORDERED:
          break
    raise DecodeError(
      self._path, f"frame {wanted[0]} of {self.num_frames} does not decode"
    )

  def _stretches(self, places: list[int]) -> Iterator:
    """Decodes from key frames on; frames come by place."""
    order = self._heads.frames(self.num_frames - 1)
    keys = set(order[places].tolist())
    spans = self._heads.spans(keys)
    with containers.opened(self._file, self._timeout) as container:
      coming = _numbered(container.demux(container.streams[self._stream]))
      decoded = (
        found
        for span in spans
        for found in self._decoder.of(_between(coming, *span), keys)
      )
      yield from self._placed(decoded)

  def _whole(self, _: list[int]) -> Iterator:
    """Decodes all from the start; frames come by place."""
    if self._index is not None:
      yield from enumerate(self._from_start())
    else:
      decoded = ((frame.pts, frame) for frame in self._from_start())
      yield from self._placed(decoded)

  def _placed(self, decoded: Iterator) -> Iterator:
    """Frames by place in place of their packet's number; hidden ones fall."""
    order = self._heads.frames(self.num_frames - 1)
    place_of = np.full(len(self._heads.read), -1)
    place_of[order] = np.arange(len(order))
    for key, frame in decoded:
      if key is not None and place_of[key] >= 0:
        yield int(place_of[key]), frame

  def _from_start(self) -> Iterator[av.VideoFrame]:
    with containers.opened(self._file, self._timeout) as container:
      coming = container.demux(container.streams[self._stream])
      yield from self._decoder.from_start(_numbered(coming))

  def _view_of(self, frame: av.VideoFrame) -> View:
    """How all frames are shown: as `Clip` shows them."""
    if self._view is None:
      self._view = View.of(frame)
      size = frame.width, frame.height
      if self._heads.oriented or size != self._stated:
        with containers.opened(self._file, self._timeout) as container:
          coming = container.demux(container.streams[self._stream])
          first = self._decoder.first(_numbered(coming))
        self._view = View.of(frame if first is None else first)
      check_size(self._path, self._view.width, self._view.height)
    return self._view


def _filled(coming: Iterator[av.Packet]) -> Iterator[av.Packet]:
  """Packets that hold something, as `Packets` counts them."""
  return (packet for packet in coming if packet.size)


def _numbered(coming: Iterator[av.Packet]) -> Iterator[av.Packet]:
  """Packets with their number in place of their time."""
  for number, packet in enumerate(_filled(coming)):
    packet.pts = number
    yield packet


def _between(
  coming: Iterator[av.Packet], begin: int, end: int
) -> Iterator[av.Packet]:
  """Packets `begin` to `end` of those that are still to come."""
  for packet in coming:
    if packet.pts >= begin:
      yield packet
    if packet.pts >= end:
      return


def _blocks(coming: Iterator[av.Packet]) -> Iterator[Block]:
  """Packets as `pairing.pair` takes them, some MiB at a time."""
  held, size = [], 0
  for packet in coming:
    held.append(packet)
    size += packet.size
    if size > _BLOCK_BYTES:
      yield from pairing.blocks_of(held)
      held, size = [], 0
  if held:
    yield from pairing.blocks_of(held)
