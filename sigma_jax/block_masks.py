"""V-JEPA's multi-block masks with static counts, drawn from a PRNG key.

Blocks of tubes are hidden. The encoder sees some of the other tubes, the
context. The predictor predicts some of the hidden ones, the targets
(https://arxiv.org/abs/2404.08471, section 3; src/masks/multiblock3d.py of its
code).

The published code cuts every clip to the smallest counts among the clips that
one process has in a batch. These would change with the batch and the devices.
Here the counts are fixed for a run, near the mean of those smallest counts. If
a clip does not reach them, its mask is drawn again.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import errors, keys

Grid = tuple[int, int, int]  # tubes along time, height and width

# Draws a clip, of which the first that reaches the counts is taken: at the
# counts below, fewer than one clip in a million has none.
_CANDIDATES = 16
# Least counts of a batch of 24 clips of the published masks, their means over
# many batches in whole frames' tubes: context and targets of 8 blocks of 15%,
# and of 2 blocks of 70%.
_PUBLISHED = {
  (8, 14, 14): ((368, 752), (96, 1096)),
  (8, 16, 16): ((496, 968), (128, 1440)),
  (8, 24, 24): ((1296, 2304), (416, 3320)),
}
_BATCH = 24  # published clips a process, whose least counts are taken


class Blocks(NamedTuple):
  """One kind of mask.

  number: blocks a clip; they may overlap. area: least and largest share of a
  frame that a block covers. aspect: least and largest height over width. time:
  least and largest share of the time slots. keep: share of the time slots, the
  first ones, that the context may be in.
  """

  number: int
  area: tuple[float, float]
  aspect: tuple[float, float] = (0.75, 1.5)
  time: tuple[float, float] = (1.0, 1.0)
  keep: float = 1.0


class Mask(NamedTuple):
  """Tubes of one batch, int32, ascending within each clip.

  context: [b, c], what the encoder sees. targets: [b, g], what is predicted.
  """

  context: jax.Array
  targets: jax.Array


def block_size(uniform: Any, grid: Grid, blocks: Blocks, xp: Any = jnp):
  """Time slots, rows and columns of a block, as the published code rounds them.

  Args:
    uniform: three numbers in [0, 1): for time, area and aspect.
    grid: tubes along time, height and width.
    blocks: the kind.
    xp: jax.numpy, or numpy for float64.

  Returns:
    Three whole numbers, as floats.
  """
  time, height, width = grid

  def between(bounds, number):
    return bounds[0] + uniform[number] * (bounds[1] - bounds[0])

  slots = xp.maximum(1.0, xp.floor(time * between(blocks.time, 0)))
  # The area in float32 would come out a hair below a whole number.
  area = xp.floor(height * width * between(blocks.area, 1) + 1e-4)
  aspect = between(blocks.aspect, 2)
  rows = xp.minimum(float(height), xp.round(xp.sqrt(area * aspect)))
  columns = xp.minimum(float(width), xp.round(xp.sqrt(area / aspect)))
  return slots, rows, columns


def hidden(places: Any, size: Any, grid: Grid, keep: float = 1.0) -> jax.Array:
  """Which tubes blocks cover.

  Args:
    places: int [k, 3], first row, column and time slot of each block.
    size: time slots, rows and columns of a block.
    grid: tubes along time, height and width.
    keep: see `Blocks`; later slots count as covered.

  Returns:
    bool [n], n the product of the grid.
  """
  slot, row, column = jnp.indices(grid, jnp.float32)
  places = jnp.asarray(places, jnp.float32)
  size = [jnp.asarray(side, jnp.float32) for side in size]
  last = max(1, int(grid[0] * keep))

  def covered(place):
    inside = (slot >= place[2]) & (slot < place[2] + size[0])
    inside &= (row >= place[0]) & (row < place[0] + size[1])
    return inside & (column >= place[1]) & (column < place[1] + size[2])

  found = jnp.any(jax.vmap(covered)(places), axis=0)
  return (found | (slot >= last)).reshape(-1)


def cut(hidden: jax.Array, context: int, targets: int) -> Mask:
  """The first tubes of each side in raster order, time first, as published.

  Args:
    hidden: bool [b, n]; every clip has as many of each side.
    context, targets: c and g.
  """

  def first(side, count):
    order = jnp.argsort(~side, axis=-1, stable=True)
    return order[..., :count].astype(jnp.int32)

  return Mask(first(~hidden, context), first(hidden, targets))


def rest(index: jax.Array, total: int) -> jax.Array:
  """The tubes that are not there: int32 [b, k] of n -> int32 [b, n - k]."""
  rows = jnp.arange(len(index))[:, None]
  there = jnp.zeros((len(index), total), bool).at[rows, index].set(True)
  order = jnp.argsort(there, axis=-1, stable=True)
  return order[:, : total - index.shape[1]].astype(jnp.int32)


def complemented(mask: Mask, total: int, option: str) -> Mask:
  """V-JEPA 2's options, by their published names.

  Args:
    mask: after the cut.
    total: n.
    option: plain; full_complement, all that is not context is a target;
      pred_full_complement, all that is no target is context; inv_block, the
      sides change places.
  """
  if option == "full_complement":
    return Mask(mask.context, rest(mask.context, total))
  if option == "pred_full_complement":
    return Mask(rest(mask.targets, total), mask.targets)
  if option == "inv_block":
    return Mask(mask.targets, mask.context)
  return mask


def sample(
  key: jax.Array,
  batch: int,
  *,
  grid: Grid,
  blocks: Blocks,
  counts: tuple[int, int],
  random_cut: bool = False,
) -> Mask:
  """Draws a mask for each clip, from the key and the clip's place alone.

  Args:
    key: of this step's masks of this kind.
    batch: clips, b.
    grid: tubes along time, height and width.
    blocks: the kind.
    counts: c and g.
    random_cut: if a side has too many tokens, leave out random ones and not
      the last. With the published cut, most contexts end early.
  """

  def one(key):
    drawn = jax.vmap(lambda key: _draw(key, grid, blocks))(
      jax.random.split(key, _CANDIDATES)
    )
    found = jnp.sum(drawn, axis=1)
    enough = (found >= counts[1]) & (drawn.shape[1] - found >= counts[0])
    taken = drawn[jnp.argmax(enough)]
    return _thinned(key, taken, counts) if random_cut else cut(taken, *counts)

  return jax.vmap(one)(keys.each(key, jnp.arange(batch)))


def _draw(key: jax.Array, grid: Grid, blocks: Blocks) -> jax.Array:
  """One clip's hidden tubes, bool [n]."""
  of_size, of_places = jax.random.split(key)
  size = block_size(jax.random.uniform(of_size, (3,)), grid, blocks)
  left = jnp.stack(
    [grid[1] - size[1] + 1, grid[2] - size[2] + 1, grid[0] - size[0] + 1]
  )
  uniform = jax.random.uniform(of_places, (blocks.number, 3))
  return hidden(jnp.floor(uniform * left), size, grid, blocks.keep)


def _thinned(key: jax.Array, hidden: jax.Array, counts) -> Mask:
  """A mask of counts (c, g) whose surplus is left out at random."""
  scores = jax.random.uniform(jax.random.fold_in(key, 1), hidden.shape)

  def some(side, count):
    order = jnp.argsort(jnp.where(side, scores, 2.0))
    return jnp.sort(order[:count]).astype(jnp.int32)

  return Mask(some(~hidden, counts[0]), some(hidden, counts[1]))


@functools.cache
def counts(grid: Grid, blocks: Blocks) -> tuple[int, int]:
  """c and g of a run that does not set them.

  The mean over many batches of 24 clips of the least counts in a batch, what
  the published cut leaves on average; in whole numbers of the grid's time slots
  where blocks span all of them.

  Raises:
    UserError: on this grid, blocks leave nothing to see or nothing to hide.
  """
  total = math.prod(grid)
  for number, area in enumerate((0.15, 0.7)):
    kind = Blocks((8, 2)[number], (area, area))
    if grid in _PUBLISHED and blocks == kind:
      return _PUBLISHED[grid][number]
  random = np.random.RandomState(0)  # whose numbers never change
  least = []
  for _ in range(40):
    size = _host_size(random, grid, blocks)  # of the batch, as published
    drawn = (_host_draw(random, grid, blocks, size) for _ in range(20 * _BATCH))
    found = (int(mask.sum()) for mask in drawn)
    # An empty context is drawn again.
    whole = list(itertools.islice((n for n in found if n < total), _BATCH))
    if len(whole) < _BATCH:
      raise _impossible(grid, blocks)
    least.append((total - max(whole), min(whole)))
  slots = grid[0] if blocks.time == (1.0, 1.0) else 1
  means = np.mean(least, axis=0)
  return tuple(max(slots, int(mean // slots) * slots) for mean in means)


def _host_size(random, grid: Grid, blocks: Blocks) -> list[int]:
  uniform = random.random_sample(3)
  return [int(n) for n in block_size(uniform, grid, blocks, np)]


def _host_draw(random, grid: Grid, blocks: Blocks, size) -> np.ndarray:
  """As `_draw`, in numpy, with blocks of a given size."""
  found = np.zeros(grid, bool)
  for _ in range(blocks.number):
    place = (
      random.randint(0, n - k + 1) for n, k in zip(grid, size, strict=True)
    )
    found[tuple(slice(a, a + k) for a, k in zip(place, size, strict=True))] = (
      True
    )
  found[max(1, int(grid[0] * blocks.keep)) :] = True
  return found


def check(grid: Grid, blocks: Blocks, counts: tuple[int, int]) -> None:
  """Refuses counts that clips rarely reach.

  Raises:
    UserError: more than one clip in ten thousand would find no mask.
  """
  random = np.random.RandomState(1)
  total, draws = math.prod(grid), 200
  reached = 0
  for _ in range(draws):
    size = _host_size(random, grid, blocks)
    count = int(_host_draw(random, grid, blocks, size).sum())
    reached += count >= counts[1] and total - count >= counts[0]
  if (1 - reached / draws) ** _CANDIDATES > 1e-4:
    raise errors.UserError(
      f"masks of {blocks.number} blocks of {blocks.area[0]:.0%} of a frame on "
      f"{grid} tubes reach {counts[0]} tubes of context and {counts[1]} of "
      f"targets in {reached / draws:.0%} of draws: set lower counts"
    )


def _impossible(grid: Grid, blocks: Blocks) -> errors.UserError:
  return errors.UserError(
    f"masks of {blocks.number} blocks of {blocks.area[0]:.0%} of a frame cover "
    f"all of {grid} tubes: give fewer or smaller blocks"
  )
