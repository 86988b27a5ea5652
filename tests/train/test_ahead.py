"""A step that is compiled while the data is being opened."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.train import ahead
from sigma_jax.train import mesh as mesh_lib


@pytest.fixture
def mesh():
  return mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])


def begun(mesh, function, rows=4):
  """The step of a batch of so many numbers, and a state for it."""
  state = jax.device_put(jnp.zeros(()), mesh_lib.replicated(mesh))
  split = mesh_lib.batch_sharding(mesh)
  batch = {"x": jax.ShapeDtypeStruct((rows,), np.float32, sharding=split)}
  return ahead.Step(jax.jit(function), state, {}, batch), state


def counting():
  """A step that adds up, and the number of rows of each time it was traced."""
  traced = []

  def step(state, frozen, batch):
    traced.append(len(batch["x"]))
    return state + batch["x"].sum(), {}

  return step, traced


@pytest.mark.parametrize("rows, compiled", [(4, [4]), (6, [4, 6])])
def test_any_batch_is_right_and_the_expected_one_is_compiled_once(
  mesh, rows, compiled
):
  function, traced = counting()
  step, state = begun(mesh, function)
  for number in (1, 2, 3):
    batch = {"x": np.full(rows, number, np.float32)}
    state, _ = step(state, {}, mesh_lib.put_batch(batch, mesh))
  assert float(state) == 6 * rows
  assert traced == compiled
  assert step.expected == (rows == 4)


def test_what_goes_wrong_comes_with_the_first_call(mesh):
  def broken(state, frozen, batch):
    raise ValueError("not so")

  step, state = begun(mesh, broken)
  with pytest.raises(ValueError, match="not so"):
    step(state, {}, {})
