"""What a run carries from step to step, as plain pytrees."""

from collections.abc import Callable
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


# (settings, key) -> fresh parameters, a nested dict of float32; jit-able.
InitParams = Callable[[settings_lib.Settings, jax.Array], dict[str, Any]]


def abstract(
  settings: settings_lib.Settings,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  init_params: InitParams = sigma.init_params,
) -> TrainState:
  """Shapes, dtypes and shardings of the run's state; allocates nothing."""
  shapes = jax.eval_shape(lambda: _fresh(settings, optimizer, init_params))
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
  init_params: InitParams = sigma.init_params,
) -> TrainState:
  """A fresh state, made in one jit so that each device makes its own shard.

  A scalar created on one host would break multi-host saving.

  Args:
    settings, optimizer, mesh: of the run.
    initial: parameters to start from instead of random ones.
    init_params: makes random ones, of the run's seed.

  Raises:
    UserError: `initial` is of another model.
  """
  shapes = jax.eval_shape(lambda: _fresh(settings, optimizer, init_params))
  shardings = mesh_lib.state_sharding(mesh, shapes)
  if initial is None:
    return jax.jit(
      lambda: _fresh(settings, optimizer, init_params), out_shardings=shardings
    )()
  _check_same(shapes.params, initial)
  params = jax.device_put(initial, shardings.params)
  return jax.jit(
    lambda params: _start(params, optimizer), out_shardings=shardings
  )(params)


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


def _fresh(settings, optimizer, init_params) -> TrainState:
  params = init_params(settings, jax.random.key(settings.seed))
  return _start(params, optimizer)


def _start(params, optimizer) -> TrainState:
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
