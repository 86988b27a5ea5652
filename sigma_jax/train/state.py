"""What a run carries from step to step, as plain pytrees."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sigma_jax import errors
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
  initial: dict[str, Any] | None = None,
) -> TrainState:
  """A fresh state, made in one jit so that each device makes its own shard.

  A scalar created on one host would break multi-host saving.

  Args:
    settings, optimizer, mesh: of the run.
    initial: parameters to start from instead of random ones.

  Raises:
    UserError: `initial` is of another model.
  """
  shapes = jax.eval_shape(lambda: _fresh(settings, optimizer))
  shardings = mesh_lib.state_sharding(mesh, shapes)
  make = jax.jit(lambda: _fresh(settings, optimizer), out_shardings=shardings)
  fresh = make()
  if initial is None:
    return fresh
  _check_same(fresh.params, initial)
  params = jax.device_put(initial, shardings.params)
  return fresh._replace(params=params)


def _check_same(wanted: dict, found: dict) -> None:
  """Raises UserError naming the parameters that do not fit."""
  shapes = [
    {
      jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (wanted, found)
  ]
  differing = [
    f"{name} ({shapes[1].get(name)} there, {shapes[0].get(name)} here)"
    for name in sorted(shapes[0].keys() | shapes[1].keys())
    if shapes[0].get(name) != shapes[1].get(name)
  ]
  if differing:
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise errors.UserError(
      f"config.init holds another model: {', '.join(differing[:3])}{more}"
    )


def _fresh(settings, optimizer) -> TrainState:
  params = sigma.init_params(settings, jax.random.key(settings.seed))
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
