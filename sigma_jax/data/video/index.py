"""What was found out about files, kept for the run.

Files whose frames only decoding can count are decoded once (`Index`); where
headers tell which packet holds which frame, they are looked at once
(`pairing.Pairing`). Both are kept as long as the process lives, up to a number
of frames, and found anew where a file has been written since.
"""

import collections
import dataclasses
import io
import threading
import zlib
from collections.abc import Hashable

import numpy as np

from sigma_jax.data import storage
from sigma_jax.data.video.orientation import View
from sigma_jax.data.video.pairing import Pairing

_MOST_FRAMES = 1 << 22  # of files kept, up to 9 bytes each


@dataclasses.dataclass(frozen=True)
class Index:
  """The frames of a file.

  Attributes:
    times: float64 [n], when each is shown, seconds after the first.
    view: of the first of them.
  """

  times: np.ndarray
  view: View

  @property
  def num_frames(self) -> int:
    return len(self.times)


@dataclasses.dataclass(frozen=True)
class Times:
  """times: float64 [n], as of `Index`, where headers told all the rest."""

  times: np.ndarray

  @property
  def num_frames(self) -> int:
    return len(self.times)


Found = Index | Pairing | Times


class _Known:
  """What is known of files, the latest used ones."""

  def __init__(self):
    self._found: collections.OrderedDict[Hashable, Found] = (
      collections.OrderedDict()
    )
    self._lock, self._frames = threading.Lock(), 0

  def get(self, key: Hashable) -> Found | None:
    with self._lock:
      if key in self._found:
        self._found.move_to_end(key)
      return self._found.get(key)

  def put(self, key: Hashable, found: Found) -> None:
    with self._lock:
      if key in self._found:
        return  # another thread was faster
      self._found[key] = found
      self._frames += found.num_frames
      while self._frames > _MOST_FRAMES and len(self._found) > 1:
        _, oldest = self._found.popitem(last=False)
        self._frames -= oldest.num_frames


_known = _Known()
recall, keep = _known.get, _known.put


def key_of(path: str, file: str | io.BytesIO) -> Hashable:
  """Tells a file as it is now from others: what `recall` and `keep` take.

  Args:
    path: its name.
    file: what `readable` gave.
  """
  if isinstance(file, str):
    return path, storage.stamp(file)
  return path, zlib.crc32(file.getvalue())
