"""Masks that follow a clip's motion: MGMAE's (https://arxiv.org/abs/2308.10794).

One frame, the base, gets a map: a bump on each of the tokens that a tube mask
would leave visible. The flow carries the map to the other frames, and in every
time slot the tokens that hold the most of it are visible: as many in every slot
and every clip, whatever moves.

The published code carries the map the wrong way in the frames before the base
one: it asks for the flow of the later frame to the earlier one, and the map
runs against the motion (https://github.com/MCG-NJU/MGMAE at af7beb9: the option
is spelt `backward`, the loop tests for `backwarp`). It also moves by
(size - 1) / size of the flow. Here both are options, and off.
"""

import jax
import jax.numpy as jnp

from sigma_jax import keys, masking
from sigma_jax.motion import flow as flow_lib
from sigma_jax.motion import warping

# Bumps are of slightly different heights, in an order drawn for each clip, the
# lowest by this part. In a still clip all tokens with a bump would hold the
# same, and rounding, other on other devices, would say which of them is hidden.
_RANKED = 1e-3


def base_frame(frames: int) -> int:
  """The one that the others' maps come from: the middle one, as published."""
  return frames // 2


def bumps(seeds: jax.Array, heights: jax.Array, grid, side: int) -> jax.Array:
  """The base frame's map.

  A bump is exp(-((row - r) / side)^2 - ((column - c) / side)^2) about the
  middle (r, c) of its token; the map is their largest at each pixel, and is
  divided by its own largest value.

  Args:
    seeds: int32 [b, g], tokens of a frame in raster order.
    heights: float32 [b, g].
    grid: tokens along height and width.
    side: pixels of a token.

  Returns:
    float32 [b, H, W], H = height * side.
  """

  def along(count, middles):
    pixels = (jnp.arange(count * side, dtype=jnp.float32) + 0.5) / side
    away = pixels - (middles.astype(jnp.float32)[..., None] + 0.5)
    return -jnp.square(away)

  rows = along(grid[0], seeds // grid[1])
  columns = along(grid[1], seeds % grid[1])
  found = jnp.max(
    heights[..., None, None]
    * jnp.exp(rows[..., :, None] + columns[..., None, :]),
    axis=1,
  )
  return found / jnp.max(found, axis=(1, 2), keepdims=True)


def carried(
  initial: jax.Array,
  flows: jax.Array,
  base: int,
  *,
  fill: bool = True,
  shrink: tuple[float, float] = (1.0, 1.0),
) -> tuple[jax.Array, jax.Array]:
  """Every frame's map, from the base frame's, one warp a frame.

  Args:
    initial: float32 [b, H, W], of the base frame.
    flows: float32 [b, t - 1, H, W, 2]: see `flow.towards`.
    base: the base frame's number.
    fill: whether pixels where a warped map is exactly 0, most often out of
      view, take the base frame's map; what is filled is what goes on.
    shrink: what x and y of the flow are multiplied by.

  Returns:
    Maps as they go on, and as they are before they are filled, both float32
    [b, t, H, W].
  """
  by_pair = jnp.moveaxis(flows, 1, 0) * jnp.array(shrink, jnp.float32)

  def step(current, flow):
    warped = warping.warp(current, flow, zeros=True)
    filled = jnp.where(warped == 0, initial, warped) if fill else warped
    return filled, (filled, warped)

  _, later = jax.lax.scan(step, initial, by_pair[base:])
  _, earlier = jax.lax.scan(step, initial, by_pair[:base], reverse=True)
  maps, warped = (
    jnp.concatenate([before, initial[None], after])
    for before, after in zip(earlier, later, strict=True)
  )
  return jnp.moveaxis(maps, 0, 1), jnp.moveaxis(warped, 0, 1)


def scores(maps: jax.Array, grid: tuple[int, int, int]) -> jax.Array:
  """How much of the maps each tube holds: [b, f, H, W] -> [b, t, h * w]."""
  batch, frames, height, width = maps.shape
  time, rows, columns = grid
  cut = maps.reshape(
    *(batch, time, frames // time),
    *(rows, height // rows, columns, width // columns),
  )
  return jnp.sum(cut, axis=(2, 4, 6)).reshape(batch, time, rows * columns)


def choose(scores: jax.Array, visible: int) -> masking.Mask:
  """The `visible` highest of each row are visible; of equals, the first.

  Args:
    scores: float32 [b, k, n]: of each of k rows on its own.
    visible: of n.
  """
  batch, parts, positions = scores.shape
  _, best = jax.lax.top_k(scores, visible)
  rows = jnp.arange(batch)[:, None, None]
  places = best + positions * jnp.arange(parts)[:, None]
  hidden = jnp.ones((batch, parts * positions), bool)
  hidden = hidden.at[rows, places].set(False)
  return masking.from_bool(hidden, parts * (positions - visible))


def maps(
  key: jax.Array,
  video: jax.Array,
  *,
  grid: tuple[int, int, int],
  ratio: float,
  published: bool = False,
  estimate: flow_lib.Estimate = flow_lib.of_pairs,
) -> tuple[jax.Array, jax.Array]:
  """Every frame's map of each clip: of its pixels, the key and its place.

  Maps are as fine as the flow: as its finest level, at 224 pixels half the
  clip, or as the clip where a network finds it.

  Args:
    key: of this step's masks; clips draw as for `masking.sample`, so that the
      bumps stand where a tube mask would leave tokens visible.
    video: uint8 [b, f, h, w, 3].
    grid: tubes along time, height, width.
    ratio: share of positions masked.
    published: whether early frames' maps run against the motion: see above.
    estimate: how flow is found.

  Returns:
    Maps, float32 [b, f, H, W], and the flows that carried them, float32
    [b, f - 1, H, W, 2] in pixels of the maps.
  """
  frames, height, width = video.shape[1:4]
  base = base_frame(frames)
  flows = flow_lib.towards(
    video, base, reverse_early=not published, estimate=estimate
  )
  patch = height // grid[1]
  factor = height // flows.shape[2]
  side = patch // factor if patch % factor == 0 else patch
  size = (grid[1] * side, grid[2] * side)
  flows = warping.resized(flows.reshape(-1, *flows.shape[2:]), size)
  flows = flows.reshape(len(video), frames - 1, *size, 2)
  seeds = masking.sample(
    key, len(video), kind="tube", grid=(1, *grid[1:]), ratio=ratio
  ).visible
  initial = bumps(seeds, _heights(key, *seeds.shape), grid[1:], side)
  shrink = ((width - 1) / width, (height - 1) / height)
  found, _ = carried(
    initial, flows, base, shrink=shrink if published else (1.0, 1.0)
  )
  return found, flows


def _heights(key: jax.Array, batch: int, count: int) -> jax.Array:
  """A little apart, in an order that each clip draws; float32 [b, g]."""

  def one(key):
    ranks = jax.random.permutation(jax.random.fold_in(key, 1), count)
    return 1 - _RANKED * ranks.astype(jnp.float32) / count

  return jax.vmap(one)(keys.each(key, jnp.arange(batch)))


def sample(
  key: jax.Array,
  video: jax.Array,
  *,
  grid: tuple[int, int, int],
  ratio: float,
  published: bool = False,
  estimate: flow_lib.Estimate = flow_lib.of_pairs,
) -> masking.Mask:
  """One mask a clip; see `maps` for the arguments."""
  found, _ = maps(
    key, video, grid=grid, ratio=ratio, published=published, estimate=estimate
  )
  hidden = masking.num_masked("motion", grid, ratio) // grid[0]
  return choose(scores(found, grid), grid[1] * grid[2] - hidden)


def motion(
  flows: jax.Array, grid: tuple[int, int, int], *, published: bool = False
) -> jax.Array:
  """Each tube's mean motion from frame to frame, forward in time.

  Args:
    flows, published: of `maps`; both run towards the base frame.
    grid: tubes along time, height, width.

  Returns:
    float32 [b, t, h, w, 2], right and down, in tubes a frame.
  """
  batch, pairs, height, width, _ = flows.shape
  time, rows, columns = grid
  onward = jnp.arange(pairs) < (0 if published else base_frame(pairs + 1))
  sign = jnp.where(onward, 1.0, -1.0)[:, None, None, None]
  side = height // rows
  cut = (sign * flows / side).reshape(
    *(batch, pairs, rows, side, columns, width // columns, 2)
  )
  by_pair = jnp.mean(cut, axis=(3, 5))
  # A slot's last pair ends in the next slot; the last slot has one fewer.
  filled = jnp.concatenate([by_pair, by_pair[:, -1:]], axis=1)
  return jnp.mean(filled.reshape(batch, time, -1, rows, columns, 2), axis=2)
