"""What an optimiser does with parts of the parameters by themselves."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def clip_each(updates: dict, max_norm: float) -> dict:
  """Gradients of which none is longer than `max_norm`, as DINO clips.

  Each is multiplied by max_norm / (its norm + 1e-6) where that is below 1
  (clip_gradients in utils.py of https://github.com/facebookresearch/dino). A
  stacked block's norm is its own. The biases of query, key and value are one
  parameter there, and have one norm here.

  Args:
    updates: gradients, a nested dict, blocks stacked or not.
    max_norm: above 0.
  """
  squares: dict[tuple, jax.Array] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
    name = _clipped_as(path)
    square = jnp.sum(jnp.square(leaf), axis=_own_axes(path, leaf))
    squares[name] = squares.get(name, 0.0) + square

  def clip(path, leaf):
    norm = jnp.sqrt(squares[_clipped_as(path)])
    factor = jnp.minimum(max_norm / (norm + 1e-6), 1.0)
    return leaf * factor.reshape(*factor.shape, *[1] * (leaf.ndim - norm.ndim))

  return jax.tree_util.tree_map_with_path(clip, updates)


def _clipped_as(path: tuple) -> tuple:
  """A name that leaves with one norm share."""
  names = tuple(getattr(part, "key", getattr(part, "idx", "")) for part in path)
  joint = ("q_bias", "k_bias", "v_bias")
  return tuple("qkv_bias" if name in joint else name for name in names)


def _own_axes(path: tuple, leaf: jax.Array) -> tuple[int, ...]:
  """Axes of one parameter: all but that of the blocks, if it is stacked."""
  names = [getattr(part, "key", "") for part in path]
  stacked = "blocks" in names and not hasattr(path[-1], "idx")
  return tuple(range(1 if stacked else 0, leaf.ndim))


class Held(NamedTuple):
  """State of `hold`: steps done, of all other parts, and of the held ones."""

  count: jax.Array
  free: Any
  held: Any


def hold(
  make: Callable[[int], optax.GradientTransformation], held: dict[str, int]
) -> optax.GradientTransformation:
  """An optimiser that leaves parts of the parameters alone at first.

  A held part has no gradient in the published codes: nothing is done with it,
  no decay either, and its moments and their count begin when it is let go.

  Args:
    make: an optimiser whose own first step is the run's step n, from 0.
    held: part, of the first level of the parameters -> steps that it is held.
  """
  free = make(0)
  each = {name: make(begin) for name, begin in held.items()}

  def split(tree):
    return {name: part for name, part in tree.items() if name not in held}

  def init(params):
    states = {name: each[name].init({name: params[name]}) for name in held}
    count = jnp.zeros((), jnp.int32)
    return Held(count, free.init(split(params)), states)

  def update(updates, state, params=None):
    found, of_free = free.update(split(updates), state.free, split(params))
    states = {}
    for name, begin in held.items():
      old = state.held[name]
      of_part = {name: updates[name]}, old, {name: params[name]}
      new, after = each[name].update(*of_part)
      go = state.count >= begin
      after = jax.tree.map(lambda a, b, go=go: jnp.where(go, a, b), after, old)
      states[name] = after
      found |= jax.tree.map(lambda a, go=go: jnp.where(go, a, 0.0), new)
    return found, Held(state.count + 1, of_free, states)

  return optax.GradientTransformation(init, update)


def clipped(
  inner: optax.GradientTransformation,
  max_norm: float,
  by: str = "all",
  begin: int = 0,
) -> optax.GradientTransformation:
  """`inner` of gradients whose norm is at most `max_norm`.

  Clipping keeps no state, so the state is that of `inner`: a run can be resumed
  with clipping switched on or off. (`optax.chain` would give it a place.)

  Args:
    inner: keeps a count of steps.
    max_norm: of all gradients together, of each part's, or of each one.
    by: `settings.Optimizer.clip_by`; parts are the tree's first level.
    begin: first step that is clipped, counted from 0.
  """
  clip = optax.clip_by_global_norm(max_norm)

  def shorter(updates):
    return clip.update(updates, clip.init(None))[0]

  def update(updates, state, params=None):
    if by == "parameter":
      found = clip_each(updates, max_norm)
    elif by == "part":
      found = {name: shorter(part) for name, part in updates.items()}
    else:
      found = shorter(updates)
    if begin:
      count = optax.tree.get_all_with_path(state, "count")[0][1]
      found = jax.tree.map(
        lambda new, old: jnp.where(count >= begin, new, old), found, updates
      )
    return inner.update(found, state, params)

  return optax.GradientTransformation(inner.init, update)
