"""The step's program, made in a thread while the data is being opened."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import steps

_Shapes = Any  # a pytree of jax.ShapeDtypeStruct


class Step:
  """A jitted step that is compiled from now on, and waited for at its call.

  XLA compiles without Python's lock. Meanwhile the caller imports TensorFlow
  and reads the first batch.

  Attributes:
    expected: whether the first batch was of the shapes that were given.
  """

  def __init__(
    self,
    step: steps.Step,
    state: Any,
    frozen: Any,
    batch: _Shapes,
  ):
    """Begins.

    Args:
      step: from `steps.jit`.
      state, frozen: what the first call will be given, or its shapes with
        shardings.
      batch: shapes with shardings of what is expected. Another batch is as
        right, and is compiled when it comes.
    """
    self._jitted, self._batch = step, batch
    shapes = jax.tree.map(_shape, (state, frozen))  # holds no array
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._made = self._pool.submit(lambda: step.lower(*shapes, batch).compile())
    self._step: steps.Step | None = None
    self.expected: bool | None = None

  def __call__(self, state, frozen, batch):
    """As the step; the first call waits for the program."""
    if self._step is None:
      compiled = self._made.result()
      self._pool.shutdown()
      self.expected = jax.tree.map(_shape, batch) == self._batch
      self._step = compiled if self.expected else self._jitted
    return self._step(state, frozen, batch)


def _shape(leaf) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def batch(
  settings: settings_lib.Settings,
  mesh: jax.sharding.Mesh,
  made_of: Callable[[jax.Array], dict[str, jax.Array]],
  names: Sequence[str],
) -> dict[str, jax.ShapeDtypeStruct]:
  """The shapes of a run's batches, split over the mesh.

  Args:
    settings, mesh: of the run.
    made_of: clips -> a batch, see `loop.Job.batch`.
    names: its entries that the step reads.
  """
  data, count = settings.data, settings.train.batch_size
  shape = count, data.num_frames, data.size, data.size, 3
  found = jax.eval_shape(made_of, jax.ShapeDtypeStruct(shape, np.uint8))
  split = mesh_lib.batch_sharding(mesh)
  return {name: found[name].update(sharding=split) for name in names}
