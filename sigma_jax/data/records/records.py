"""Prepared records as a source of clips: see docs/DATA.md.

Only the records that hold a clip's frames are read, and of these frames only
the tiles under the crop are decoded.
"""

import hashlib
import os
import time
import zlib

import numpy as np
from av.video.reformatter import VideoReformatter

from sigma_jax import errors
from sigma_jax.data import storage
from sigma_jax.data.records import array_record_file, jpeg, record_format
from sigma_jax.data.records.record_format import (
  INDEX,
  MICROSECONDS,
  PLAN,
  SEGMENT,
  Index,
)
from sigma_jax.data.video import pixels, transforms
from sigma_jax.data.video.containers import DecodeError, even_times, one_error


def is_prepared(path: str) -> bool:
  """Whether a path is a folder that `prepare` wrote, or began to write."""
  return storage.is_dir(path) and any(
    storage.is_file(os.path.join(path, name)) for name in (INDEX, PLAN)
  )


class Records:
  """The videos of a prepared folder as a `sources.Source`."""

  def __init__(self, path: str):
    """Reads the index; shards are opened as they are read.

    Args:
      path: the folder.

    Raises:
      UserError: prepare has not finished, or the index or a shard is missing,
        cut short or of another version. One line.
    """
    self.path = path
    self._index = _load_index(path)
    self.files, self.labels = self._index.files, self._index.labels
    self.classes = self._index.classes
    segments = -(-self._index.frames // SEGMENT)
    shards = len(self._index.shards)
    self._first = np.cumsum(segments) - segments
    self._shard = np.repeat(np.arange(shards), self._index.videos)
    self._stamps: dict[int, list] = {}

  def __len__(self) -> int:
    return len(self.files)

  def open(self, row: int, timeout: float) -> "Record":
    """As `sources.Source.open`."""
    first, frames = int(self._first[row]), int(self._index.frames[row])
    shard = self._index.shards[self._shard[row]]
    places = self._index.places[first : first + -(-frames // SEGMENT)]
    shard = os.path.join(self.path, shard)
    fps = float(self._index.fps[row])
    return Record(self.files[row], shard, places, frames, fps, timeout)

  def identify(self, row: int) -> list:
    """As `sources.Source.identify`: its place in a shard, and the shard's."""
    number = int(self._shard[row])
    if number not in self._stamps:
      shard = os.path.join(self.path, self._index.shards[number])
      self._stamps[number] = [shard, storage.stamp(shard)]
    place = int(self._first[row]), int(self._index.frames[row])
    return [self.files[row], *place, *self._stamps[number]]


def _load_index(folder: str) -> Index:
  path = os.path.join(folder, INDEX)
  if not storage.is_file(path):
    raise errors.UserError(
      f"records {folder}: not complete, {INDEX} is missing; the command that "
      "began to prepare them, run again, goes on where it was interrupted"
    )
  try:
    index = Index.load(storage.read(path))
  except record_format.DamagedIndex as error:
    raise errors.UserError(
      f"records {folder}: {INDEX} is damaged ({error}); copy it again, or "
      "prepare them anew"
    ) from error
  found = storage.sizes(folder)
  missing = [name for name in index.shards if name not in found]
  if missing:
    raise errors.UserError(
      f"records {folder}: {len(missing)} of {len(index.shards)} shards are "
      f"missing, the first is {missing[0]}; copy them again, or prepare anew"
    )
  for name, size in zip(index.shards, index.sizes, strict=True):
    if found[name] not in (size, storage.UNKNOWN):
      raise errors.UserError(
        f"records {folder}: {name} has {found[name]} bytes where there should "
        f"be {size}; copy it again, or prepare anew"
      )
  return index


class Record:
  """One video of a shard as a `sources.Video`.

  Attributes:
    num_frames: as in the video that it was made from.
  """

  def __init__(
    self,
    file: str,
    shard: str,
    places: np.ndarray,
    num_frames: int,
    fps: float,
    timeout: float,
  ):
    """Opens the shard.

    Args:
      file: name of the video, for messages.
      shard: path.
      places: int64 [s, 2], begin and end of its segments.
      num_frames: of the video.
      fps: of the video, on average; 0: not known.
      timeout: seconds from here to the end of the last read.

    Raises:
      DecodeError: the shard cannot be opened.
    """
    self.num_frames, self._fps = num_frames, fps
    self._name, self._places = file, places
    self._shard = os.path.basename(shard)
    self._timeout, self._deadline = timeout, time.monotonic() + timeout
    self._segments = {}
    with self._one_error("cannot be opened"):
      self._file = storage.open_ranges(shard)

  @property
  def num_bytes(self) -> int:
    """What it takes in the shard."""
    return int(np.diff(self._places).sum())

  def fingerprint(self, first: int = 0) -> str:
    """Equal for equal frames from the record of frame `first` on.

    It is made of their checksums as stored.

    Raises:
      DecodeError: they cannot be read.
    """
    digest = hashlib.blake2b()
    with self._one_error("damaged"):
      for segment in range(first // SEGMENT, len(self._places)):
        known = self._segments.get(segment) or self._read_segment(segment)
        digest.update(known[1].tobytes())
    return digest.hexdigest()

  def __enter__(self) -> "Record":
    return self

  def __exit__(self, *_) -> None:
    self._file.close()
    self._segments = {}

  def _one_error(self, problem: str):
    return one_error(self._name, f"shard {self._shard} {problem}")

  def read(
    self, indices, box_of=None, size: int = 0, antialias: bool = True
  ) -> np.ndarray:
    """As `sources.Video.read`."""
    places, order = np.unique(indices, return_inverse=True)
    if places[0] < 0 or places[-1] >= self.num_frames:
      raise DecodeError(
        self._name, f"frame {places[-1]} wanted of {self.num_frames}"
      )
    with self._one_error("damaged"):
      images = [self._image(place) for place in places.tolist()]
      if box_of:
        frames = _cut(images, box_of, size, antialias)
      else:
        frames = _whole(images)[None]
    return pixels.arranged(frames, order, box_of)

  def times(self, indices: np.ndarray) -> np.ndarray:
    """As `sources.Video.times`; by the average rate where none are stored."""
    places, order = np.unique(indices, return_inverse=True)
    times = []
    with self._one_error("damaged"):
      for place in places.tolist():
        segment, offset = divmod(place, SEGMENT)
        stored = self._segment(segment)[2]
        if not stored:
          return even_times(indices, self._fps)
        times.append(stored[offset] / MICROSECONDS)
    return np.array(times)[order]

  def _image(self, place: int) -> memoryview:
    """The JPEG of one frame, checked."""
    segment, offset = divmod(place, SEGMENT)
    images, sums, _ = self._segment(segment)
    if offset >= len(images) or zlib.crc32(images[offset]) != sums[offset]:
      raise ValueError(f"frame {place} is not what was written")
    return images[offset]

  def _segment(self, segment: int) -> tuple[list, np.ndarray, list[int]]:
    """What `record_format.frames_of` tells of a segment, read once."""
    if segment not in self._segments:
      self._segments[segment] = self._read_segment(segment)
    return self._segments[segment]

  def _read_segment(self, segment: int) -> tuple[list, np.ndarray, list[int]]:
    if time.monotonic() > self._deadline:
      raise DecodeError(self._name, f"timeout after {self._timeout:g} s")
    begin, end = self._places[segment].tolist()
    data = self._file.read(begin, end - begin)
    if len(data) < end - begin:
      raise ValueError("cut short")
    record = array_record_file.parse(data, begin)
    return record_format.frames_of(record, segment * SEGMENT)


def _whole(images: list) -> np.ndarray:
  reformatter = VideoReformatter()
  frames = jpeg.decode(list(map(bytes, images)))
  return np.stack([transforms.to_rgb(frame, reformatter) for frame in frames])


def _cut(images: list, box_of, size: int, antialias: bool) -> np.ndarray:
  images = [jpeg.Tiled(image) for image in images]
  boxes = pixels.boxes_of(box_of, images[0].width, images[0].height)
  around = _around(boxes)
  parts, corners = zip(*(image.cut(around) for image in images), strict=True)
  if len(set(corners)) > 1:
    raise ValueError("frames of several sizes")
  left, top = corners[0]
  inner = [(x - left, y - top, *sides) for x, y, *sides in boxes]
  cutter = transforms.FrameCutter(inner, size, antialias)
  frames = np.empty((len(boxes), len(parts), size, size, 3), np.uint8)
  for number, frame in enumerate(jpeg.decode(parts)):
    for place, cut in enumerate(cutter(frame)):
      frames[place, number] = cut
  return frames


def _around(boxes: list[transforms.Box]) -> transforms.Box:
  """The least box that holds all of them."""
  lows, sides = np.array(boxes)[:, :2], np.array(boxes)[:, 2:]
  low, high = lows.min(0), (lows + sides).max(0)
  return (*low.tolist(), *(high - low).tolist())
