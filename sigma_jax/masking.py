"""Masks with static counts: tube and random ones, drawn from a PRNG key.

A tube mask (VideoMAE, https://arxiv.org/abs/2203.12602) hides the same places
in every time slot, so a hidden tube cannot be copied from a neighbouring frame.
The number of hidden tubes depends on the ratio alone and not on the draw, so
shapes are static under jit.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import errors, keys


class Mask(NamedTuple):
  """Token indices of one batch, ascending within each clip.

  visible: int32 [b, v]. masked: int32 [b, m]. v + m = n.
  """

  visible: jax.Array
  masked: jax.Array


def num_masked(kind: str, grid: tuple[int, int, int], ratio: float) -> int:
  """Masked tubes per clip, m, for a grid of (time, height, width) tubes.

  The counts are the published ones: `int(ratio * positions)`, for each time
  slot with tube masks and over all tubes with random ones. With motion-guided
  masks MGMAE counts the visible ones, `int((1 - ratio) * positions)` for each
  slot. With 196 positions and .9 that is one fewer than a tube mask leaves
  visible.

  Raises:
    UserError: the ratio leaves no visible or no masked tube.
  """
  time, positions = grid[0], grid[1] * grid[2]
  total = time * positions if kind == "random" else positions
  count = int(ratio * total)
  if kind == "motion":
    count = total - int(total * (1 - ratio))
  if not 0 < count < total:
    raise errors.UserError(
      f"masking.ratio {ratio} masks {count} of {total} positions; at least one "
      "must stay visible and one must be masked"
    )
  return count if kind == "random" else count * time


def sample(
  key: jax.Array,
  batch: int,
  *,
  kind: str,
  grid: tuple[int, int, int],
  ratio: float,
) -> Mask:
  """Draws a mask for each clip, from the key and the clip's place alone.

  Args:
    key: of this step's masks.
    batch: clips, b.
    kind: "tube" or "random".
    grid: tubes along time, height, width.
    ratio: share of positions masked.
  """
  time, positions = grid[0], grid[1] * grid[2]
  masked = num_masked(kind, grid, ratio)
  of_clips = keys.each(key, jnp.arange(batch))

  def scores(count):
    return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(of_clips)

  if kind == "random":
    return _split_by_rank(scores(time * positions), masked)
  spatial = _split_by_rank(scores(positions), masked // time)
  return Mask(*(_repeat_over_time(ids, time, positions) for ids in spatial))


def from_bool(mask: jax.Array, masked: int) -> Mask:
  """Index form of a given mask.

  Args:
    mask: bool [b, n], true where masked, `masked` trues in every row.
    masked: m, static.
  """
  order = jnp.argsort(mask, axis=1, stable=True).astype(jnp.int32)
  visible = mask.shape[1] - masked
  return Mask(order[:, :visible], order[:, visible:])


def to_bool(mask: Mask) -> jax.Array:
  """Bool [b, n], true where masked: the inverse of `from_bool`."""
  batch, visible = mask.visible.shape
  total = visible + mask.masked.shape[1]
  rows = jnp.arange(batch)[:, None]
  return jnp.zeros((batch, total), bool).at[rows, mask.masked].set(True)


def _split_by_rank(scores: jax.Array, masked: int) -> Mask:
  """The `masked` lowest scores of each row are masked."""
  order = jnp.argsort(scores, axis=1).astype(jnp.int32)
  return Mask(
    jnp.sort(order[:, masked:], axis=1), jnp.sort(order[:, :masked], axis=1)
  )


def _repeat_over_time(ids: jax.Array, time: int, positions: int) -> jax.Array:
  offsets = jnp.arange(time, dtype=jnp.int32) * positions
  batch, count = ids.shape
  tubes = offsets[None, :, None] + ids[:, None, :]
  return tubes.reshape(batch, math.prod((time, count)))
