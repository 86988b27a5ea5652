"""A folder of pictures, img_00001.jpg and so on, as a video.

Frame i is picture i in the order of the numbers in their names. Only the
pictures that a clip needs are read.
"""

import collections
import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence

import av
import numpy as np

from sigma_jax.data import storage
from sigma_jax.data.layouts import files
from sigma_jax.data.video import pixels, stills, transforms
from sigma_jax.data.video.containers import DecodeError, one_error
from sigma_jax.data.video.decode import VideoInfo
from sigma_jax.data.video.orientation import View

_NUMBER = re.compile(r"[0-9]+")
# Optical flow, which stands beside frames since TSN: no picture of a video.
_FLOW = "flow_"


def is_one(path: str) -> bool:
  """Whether a path is a folder; of remote ones a file's suffix says not."""
  if not storage.is_remote(path):
    return os.path.isdir(path)
  suffix = os.path.splitext(path)[1].lower()
  return suffix not in (*files.VIDEOS, *stills.SUFFIXES) and storage.is_dir(
    path
  )


def is_picture(name: str) -> bool:
  """Whether a file's name is one of a frame."""
  suffix = os.path.splitext(name)[1].lower()
  return suffix in stills.SUFFIXES and not name.startswith((".", _FLOW))


def ordered(folder: str) -> tuple[str, ...]:
  """Names of a folder's pictures in their order; none is opened.

  Raises:
    DecodeError: there are none, or their names do not tell their order.
  """
  with one_error(folder, "cannot be listed"):
    names = [name for name in storage.names(folder) if is_picture(name)]
  if not names:
    kinds = ", ".join(stills.SUFFIXES)
    raise DecodeError(folder, f"no picture in the folder ({kinds})")
  stems = {name: os.path.splitext(name)[0] for name in sorted(names)}
  kinds = {_NUMBER.sub("0", stem): name for name, stem in stems.items()}
  if len(kinds) > 1:
    one, other, *_ = kinds.values()
    raise DecodeError(
      folder,
      f"pictures of {len(kinds)} kinds of names, such as {one} and {other}: "
      "frames differ in numbers alone; leave only them in the folder",
    )
  of_numbers: dict[tuple[int, ...], str] = {}
  for name in stems:
    numbers = _numbers(name)
    if numbers in of_numbers:
      raise DecodeError(
        folder,
        f"{of_numbers[numbers]} and {name} are one frame by their numbers",
      )
    of_numbers[numbers] = name
  return tuple(name for _, name in sorted(of_numbers.items()))


def _numbers(name: str) -> tuple[int, ...]:
  return tuple(map(int, _NUMBER.findall(os.path.splitext(name)[0])))


def holes(names: Sequence[str]) -> str:
  """What is missing between the numbers of pictures, in one line; "": nothing.

  Args:
    names: as of `ordered`.
  """
  columns = map(np.array, zip(*map(_numbers, names), strict=True))
  varying = [column for column in columns if (column != column[0]).any()]
  if len(varying) != 1:
    return ""
  steps = np.diff(varying[0])
  # Every fifth frame of a video is numbered in steps of five.
  step = collections.Counter(steps.tolist()).most_common(1)[0][0]
  lacking = np.maximum(steps // step - 1, 0)
  if not lacking.any():
    return ""
  first = varying[0][np.argmax(lacking > 0)] + step
  return (
    f"{lacking.sum()} of its pictures are missing by their numbers, "
    f"{varying[0][0]} to {varying[0][-1]}; the first is {first}"
  )


class Frames:
  """The pictures of a folder as a `sources.Video`.

  Attributes:
    num_frames: how many there are.
    names: of the pictures, in their order.
  """

  def __init__(self, path: str, timeout: float):
    """Lists the folder.

    Args:
      path: of it, local or gs://.
      timeout: seconds from here to the end of the last read.

    Raises:
      DecodeError: as of `ordered`.
    """
    self.path, self._timeout = path, timeout
    self._deadline = time.monotonic() + timeout
    self._shape: tuple[int, ...] | None = None
    self.names = ordered(path)
    self.num_frames = len(self.names)

  def __enter__(self) -> "Frames":
    return self

  def __exit__(self, *_) -> None:
    pass

  def read(
    self, indices, box_of=None, size: int = 0, antialias: bool = True
  ) -> np.ndarray:
    """As `sources.Video.read`; each picture is decoded as by itself."""
    places, order = np.unique(indices, return_inverse=True)
    if places[0] < 0 or places[-1] >= self.num_frames:
      raise DecodeError(
        self.path, f"frame {places[-1]} wanted of {self.num_frames}"
      )
    frames = None
    for number, place in enumerate(places.tolist()):
      cuts, picture = [], self._picture(place)[None]
      if box_of is None:
        cuts = [picture]
      else:
        if frames is None:
          height, width = picture.shape[1:3]
          boxes = pixels.boxes_of(box_of, width, height)
        cuts = [
          transforms.crop_resize(picture, box, size, antialias) for box in boxes
        ]
      if frames is None:
        shape = (len(cuts), len(places), *cuts[0].shape[1:])
        frames = np.empty(shape, np.uint8)
      frames[:, number] = np.concatenate(cuts)
    return pixels.arranged(frames, order, box_of)

  def times(self, indices) -> np.ndarray:
    """As `sources.Video.times`: zeros."""
    return np.zeros(len(indices))

  def frames(
    self, first: int = 0, last: int | None = None
  ) -> Iterator[tuple[av.VideoFrame, View]]:
    """As `decode.Clip.frames`: frames first to last - 1; None: to the end."""
    for place in range(self.num_frames)[first:last]:
      frame = av.VideoFrame.from_ndarray(self._picture(place), format="rgb24")
      yield frame, View(frame.width, frame.height)

  @property
  def info(self) -> VideoInfo:
    """What it holds, by the first picture's header; fps 0: nothing tells."""
    width, height, name = self._probe(0)
    return VideoInfo(self.num_frames, width, height, 0.0, f"frames ({name})")

  def check_sizes(self) -> None:
    """Raises DecodeError where pictures differ in size, by their headers."""
    for place in range(self.num_frames):
      width, height, _ = self._probe(place)
      self._check_shape(place, (height, width, 3))

  def _picture(self, place: int) -> np.ndarray:
    """One frame, uint8 [h, w, 3]."""
    if time.monotonic() > self._deadline:
      raise DecodeError(self.path, f"timeout after {self._timeout:g} s")
    with self._named(place), stills.Still(self._path(place)) as still:
      frame = still.read(np.zeros(1, np.int64))[0]
    self._check_shape(place, frame.shape)
    return frame

  def _probe(self, place: int) -> tuple[int, int, str]:
    with self._named(place):
      return stills.probe(self._path(place))

  def _path(self, place: int) -> str:
    return os.path.join(self.path, self.names[place])

  @contextlib.contextmanager
  def _named(self, place: int):
    """Has what is wrong with a picture be told of the folder."""
    try:
      yield
    except DecodeError as error:
      reason = f"{self.names[place]}: {error.reason}"
      raise DecodeError(self.path, reason) from error

  def _check_shape(self, place: int, shape: tuple[int, ...]) -> None:
    if self._shape not in (None, shape):
      (height, width), (tall, wide) = shape[:2], self._shape[:2]
      raise DecodeError(
        self.path,
        f"its pictures differ in size: {self.names[place]} has {width}"
        f" x {height} pixels, others have {wide} x {tall}",
      )
    self._shape = shape


def stamp(folder: str) -> list:
  """Differs once any picture of a local folder is another one; JSON-able."""
  if storage.is_remote(folder):
    return [None]
  with os.scandir(folder) as entries:
    found = sorted(
      (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
      for entry in entries
      if is_picture(entry.name)
    )
  return [hashlib.sha256(json.dumps(found).encode()).hexdigest()]
