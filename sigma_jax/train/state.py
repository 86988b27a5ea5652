"""What a run carries from step to step, as plain pytrees."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method as method_lib
from sigma_jax.train import mesh as mesh_lib


class TrainState(NamedTuple):
  """step: int32 scalar. params: nested dict. opt_state: optax's.

  slow: moving averages of parts of the parameters that the loss reads. carry:
  a method's other state. Both are {} for many methods.
  """

  step: jax.Array
  params: dict[str, Any]
  opt_state: Any
  slow: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)
  carry: dict[str, Any] = {}  # noqa: RUF012


def stored(state: Any) -> Any:
  """A state as checkpoints hold it: without the parts that are empty.

  Runs of methods without them keep the checkpoints that they always had.
  """
  if not isinstance(state, TrainState):
    return state
  parts = state._asdict()
  for name in ("slow", "carry"):
    if not parts[name]:
      del parts[name]
  return parts


class Fresh(NamedTuple):
  """How a state begins; both functions can be jitted.

  params: key -> parameters, a nested dict of float32. beside: parameters ->
  `slow` and `carry`.
  """

  params: Callable[[jax.Array], dict[str, Any]]
  beside: Callable[[dict[str, Any]], tuple[dict, dict]] = lambda _: ({}, {})


def of_method(method: method_lib.Method) -> Fresh:
  """How a run of the method begins."""
  return Fresh(method.init, functools.partial(method_lib.beside, method))


def abstract(
  settings: settings_lib.Settings,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  fresh: Fresh | None = None,
) -> TrainState:
  """Shapes, dtypes and shardings of the run's state; allocates nothing."""
  fresh = fresh or of_method(method_lib.of(settings))
  shapes = jax.eval_shape(lambda: _fresh(settings, optimizer, fresh))
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
  fresh: Fresh | None = None,
  wanted: TrainState | None = None,
) -> TrainState:
  """A fresh state, made in one jit so that each device makes its own shard.

  A scalar created on one host would break multi-host saving.

  Args:
    settings, optimizer, mesh: of the run.
    initial: parameters to start from instead of random ones.
    fresh: how it begins; None: as the settings' method does.
    wanted: of `abstract`, where it is known already.

  Raises:
    UserError: `initial` is of another model.
  """
  fresh = fresh or of_method(method_lib.of(settings))
  wanted = wanted or abstract(settings, optimizer, mesh, fresh)
  shardings = jax.tree.map(lambda leaf: leaf.sharding, wanted)
  if initial is None:
    return jax.jit(
      lambda: _fresh(settings, optimizer, fresh), out_shardings=shardings
    )()
  _check_same(wanted.params, initial)
  params = jax.device_put(initial, shardings.params)
  return jax.jit(
    lambda params: _start(params, optimizer, fresh), out_shardings=shardings
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


def _fresh(settings, optimizer, fresh: Fresh) -> TrainState:
  params = fresh.params(jax.random.key(settings.seed))
  return _start(params, optimizer, fresh)


def _start(params, optimizer, fresh: Fresh) -> TrainState:
  opt_state, step = optimizer.init(params), jnp.zeros((), jnp.int32)
  return TrainState(step, params, opt_state, *fresh.beside(params))
