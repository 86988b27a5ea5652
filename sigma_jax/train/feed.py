"""Brings batches to the devices ahead of the step that needs them."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from sigma_jax.train import mesh as mesh_lib

_END = object()


class Feed:
  """Iterates (batch on the devices, its manifest rows); counts waiting.

  A thread pulls host batches and starts their transfer, two ahead, so that
  copying overlaps the running step. An error in the pipeline is raised from
  `__next__`, as itself.

  Attributes:
    waited: seconds that the caller has spent waiting for data.
  """

  def __init__(
    self,
    batches: Iterator[dict[str, np.ndarray]],
    mesh: jax.sharding.Mesh,
    names: tuple[str, ...] = ("video",),
    ahead: int = 2,
  ):
    """names: the entries that go to the devices; the rest stays behind."""
    self.waited = 0.0
    self._batches = batches
    self._mesh = mesh
    self._names = names
    self._queue: queue.Queue[Any] = queue.Queue(maxsize=ahead)
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._fill, daemon=True)
    self._thread.start()

  def __iter__(self) -> "Feed":
    return self

  def __next__(self) -> tuple[dict[str, jax.Array], np.ndarray]:
    start = time.perf_counter()
    item = self._queue.get()
    self.waited += time.perf_counter() - start
    if item is _END:
      raise StopIteration
    if isinstance(item, BaseException):
      raise item
    return item

  def close(self) -> None:
    """Stops the thread and closes the pipeline."""
    self._stop.set()
    while self._thread.is_alive():
      try:
        self._queue.get_nowait()
      except queue.Empty:
        self._thread.join(0.05)
    close = getattr(self._batches, "close", None)
    if close is not None:
      close()

  def _fill(self) -> None:
    try:
      for batch in self._batches:
        chosen = {name: batch[name] for name in self._names}
        self._put((mesh_lib.put_batch(chosen, self._mesh), batch["index"]))
        if self._stop.is_set():
          return
      self._put(_END)
    except BaseException as error:
      self._put(error)

  def _put(self, item: Any) -> None:
    while not self._stop.is_set():
      try:
        return self._queue.put(item, timeout=0.1)
      except queue.Full:
        continue
