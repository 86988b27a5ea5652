"""What a prepared folder holds: records of frames, and the index of them.

A video is a row of records, each an Example of up to SEGMENT frames. A clip
touches few of them, so that reading it costs the same in a long video.
"""

import dataclasses
import io
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from sigma_jax.data.records import tf_example

# Frames in a record. At 17 kB a frame a clip of 61 frames reads 1.6 MB in
# three requests, of 4.3 MB that 10 s take.
SEGMENT = 32
MICROSECONDS = 1_000_000  # in a second; in which times of frames are stored
INDEX = "index.npz"  # written last: its presence says that the folder is whole
PLAN = "prepare.json"
REJECTED = "rejected.jsonl"
SUMMARY = "summary.json"
_VERSION = 1


class DamagedIndex(Exception):
  """Bytes that are no index, or one of another version."""


@dataclasses.dataclass(frozen=True)
class Index:
  """Where everything lies: n videos in s shards, r records.

  Attributes:
    files: names of the videos, as in the manifest.
    labels: int32 [n].
    frames: int32 [n], of each video.
    fps: float32 [n], frames a second on average; 0 where nothing tells, as in
      images and in folders of before these were noted.
    places: int64 [r, 2], offsets where each record's chunk begins and ends.
    videos: int32 [s], in each shard.
    sizes: int64 [s], bytes.
    shards: s file names.
    classes: where the list's labels are names: those, and labels are places in
      it.
  """

  files: tuple[str, ...]
  labels: np.ndarray
  frames: np.ndarray
  fps: np.ndarray
  places: np.ndarray
  videos: np.ndarray
  sizes: np.ndarray
  shards: tuple[str, ...]
  classes: tuple[str, ...] = ()

  def dump(self) -> bytes:
    """As stored: NumPy's .npz, names as UTF-8, one a line."""
    out = io.BytesIO()
    named = ("files", "shards", *(["classes"] if self.classes else []))
    np.savez(
      out,
      version=np.int32(_VERSION),
      **{name: _pack(getattr(self, name)) for name in named},
      **{name: getattr(self, name) for name in _ARRAYS},
    )
    return out.getvalue()

  @staticmethod
  def load(data: bytes) -> "Index":
    """Raises DamagedIndex."""
    try:
      with np.load(io.BytesIO(data), allow_pickle=False) as file:
        stored = {"fps": np.zeros(len(file["frames"]), np.float32)} | dict(file)
      version = int(stored["version"])
      arrays = {name: stored[name] for name in _ARRAYS}
      names = {name: _unpack(stored[name]) for name in ("files", "shards")}
      names["classes"] = _unpack(stored.get("classes", np.zeros(0, np.uint8)))
    except Exception as error:  # zipfile, NumPy and zlib have many
      raise DamagedIndex(str(error)) from error
    if version != _VERSION:
      raise DamagedIndex(f"version {version}, this code reads {_VERSION}")
    return Index(**arrays, **names)

  @staticmethod
  def join(parts: Sequence["Index"]) -> "Index":
    """One index of several folders' or shards' worth, in this order."""
    arrays = {
      name: np.concatenate([getattr(part, name) for part in parts])
      for name in _ARRAYS
    }
    names = {
      name: tuple(n for part in parts for n in getattr(part, name))
      for name in ("files", "shards")
    }
    return Index(**arrays, **names)


_ARRAYS = ("labels", "frames", "fps", "places", "videos", "sizes")


def _pack(names: Iterable[str]) -> np.ndarray:
  text = "\n".join(names).encode("utf-8", "surrogateescape")
  return np.frombuffer(text, np.uint8)


def _unpack(stored: np.ndarray) -> tuple[str, ...]:
  text = stored.tobytes().decode("utf-8", "surrogateescape")
  return tuple(text.split("\n")) if text else ()


def encode(
  frames: Sequence[bytes],
  *,
  row: int,
  first: int,
  times: Sequence[int],
  count: int,
  label: int,
  file: str,
) -> bytes:
  """One record.

  Args:
    frames: up to SEGMENT JPEGs.
    row: of the manifest.
    first: number of the first of them in the video.
    times: when each is shown, microseconds after the video's first frame.
    count: frames of the video.
    label: of the video.
    file: its name.
  """
  return tf_example.encode(
    {
      "frames": list(frames),
      "checksums": [np.array([zlib.crc32(f) for f in frames], "<u4").tobytes()],
      "row": [row],
      "first": [first],
      "times": times,
      "num_frames": [count],
      "label": [label],
      "file": [file.encode("utf-8", "surrogateescape")],
    }
  )


def frames_of(
  record: memoryview, first: int
) -> tuple[list, np.ndarray, list[int]]:
  """JPEGs, their CRC-32 and times of a record that starts with frame `first`.

  There are no times in records of before these were stored.

  Raises:
    ValueError: it does not, or is damaged.
  """
  features = tf_example.decode(record)
  try:
    frames, sums = features["frames"], features["checksums"][0]
    found = features["first"][0]
  except (KeyError, IndexError) as error:
    raise ValueError(f"a record without {error}") from error
  if found != first or 4 * len(frames) != len(sums):
    raise ValueError(f"a record of frame {found} where {first} should be")
  return frames, np.frombuffer(sums, "<u4"), features.get("times", [])
