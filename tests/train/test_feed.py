"""The feed: order, errors, end and close."""

import threading

import jax
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.train import feed
from sigma_jax.train import mesh as mesh_lib


def batches(count, error=None):
  for i in range(count):
    yield {
      "video": np.full((8, 2), i, np.uint8),
      "index": np.arange(8) + 10 * i,
      "label": np.zeros(8),
    }
  if error is not None:
    raise error


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make(settings_lib.Mesh())


def test_batches_arrive_in_order_on_the_devices(mesh):
  source = feed.Feed(batches(5), mesh)
  found = list(source)
  source.close()
  assert [int(batch["video"][0, 0]) for batch, _ in found] == [0, 1, 2, 3, 4]
  assert [rows[0] for _, rows in found] == [0, 10, 20, 30, 40]
  for batch, _ in found:
    assert set(batch) == {"video"}
    assert isinstance(batch["video"], jax.Array)
    assert batch["video"].sharding == mesh_lib.batch_sharding(mesh)
  assert source.waited > 0


def test_an_error_comes_as_itself_after_the_batches_before_it(mesh):
  source = feed.Feed(batches(2, error=OSError("disk gone")), mesh)
  next(source), next(source)
  with pytest.raises(OSError, match="disk gone"):
    next(source)
  source.close()


def test_close_ends_the_thread_and_the_source(mesh):
  closed = threading.Event()

  class Endless:
    def __iter__(self):
      return self

    def __next__(self):
      return next(batches(1))

    def close(self):
      closed.set()

  source = feed.Feed(Endless(), mesh)
  next(source)
  source.close()
  assert closed.is_set()
  assert not source._thread.is_alive()
