"""What a run carries from step to step, as plain pytrees."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma
from sigma_jax.train import mesh as mesh_lib


class TrainState(NamedTuple):
  """step: int32 scalar. params: nested dict. opt_state: optax's."""

  step: jax.Array
  params: dict[str, Any]
  opt_state: Any


def abstract(
  settings: settings_lib.Settings,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
) -> TrainState:
  """Shapes, dtypes and shardings of the run's state; allocates nothing."""
  shapes = jax.eval_shape(lambda: _fresh(settings, optimizer))
  shardings = mesh_lib.state_sharding(mesh, shapes)
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    shardings,
  )


def create(
  settings: settings_lib.Settings,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
) -> TrainState:
  """A fresh state, made in one jit so that each device makes its own shard.

  A scalar created on one host would break multi-host saving.
  """
  shapes = jax.eval_shape(lambda: _fresh(settings, optimizer))
  shardings = mesh_lib.state_sharding(mesh, shapes)
  make = jax.jit(lambda: _fresh(settings, optimizer), out_shardings=shardings)
  return make()


def _fresh(settings, optimizer) -> TrainState:
  params = sigma.init_params(settings, jax.random.key(settings.seed))
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
