"""Files whose frames only decoding can count: once each, for the run.

What was found is kept as long as the process lives, up to a number of frames,
and found anew where a file has been written since.
"""

import collections
import dataclasses
import io
import os
import threading
import zlib
from collections.abc import Callable, Hashable

import numpy as np

from sigma_jax.data.views import View

_MOST_FRAMES = 1 << 22  # kept, 8 bytes each


@dataclasses.dataclass(frozen=True)
class Index:
  """The frames of a file.

  Attributes:
    times: float64 [n], when each is shown, seconds after the first.
    view: of the first of them.
  """

  times: np.ndarray
  view: View


class _Known:
  """Indices by the file that they are of, the latest used ones."""

  def __init__(self):
    self._indices: collections.OrderedDict[Hashable, Index] = (
      collections.OrderedDict()
    )
    self._lock, self._frames = threading.Lock(), 0

  def get(self, key: Hashable) -> Index | None:
    with self._lock:
      if key in self._indices:
        self._indices.move_to_end(key)
      return self._indices.get(key)

  def put(self, key: Hashable, index: Index) -> None:
    with self._lock:
      if key in self._indices:
        return  # another thread was faster
      self._indices[key] = index
      self._frames += len(index.times)
      while self._frames > _MOST_FRAMES and len(self._indices) > 1:
        _, oldest = self._indices.popitem(last=False)
        self._frames -= len(oldest.times)


_known = _Known()


def of(path: str, file: str | io.BytesIO, make: Callable[[], Index]) -> Index:
  """The index of a file, made unless it is known.

  Args:
    path: its name.
    file: what `readable` gave.
    make: makes it; what it raises is raised.
  """
  if isinstance(file, str):
    status = os.stat(file)
    key = path, status.st_size, status.st_mtime_ns
  else:
    key = path, zlib.crc32(file.getvalue())
  found = _known.get(key)
  if found is None:
    found = make()
    _known.put(key, found)
  return found
