"""Short tracks of a clip's cells: MME's position target.

From the middle of every cell of a tube's first frame a point goes with the flow
for a few of the video's own frames (https://arxiv.org/abs/2210.06096). A step
is the flow where the point is, without the camera's. What the network is to
predict of it, `labels` makes: by default only how the cells of a tube move
against each other.

MME's code (https://github.com/XinyuSun/MME at 17689a9) tracks in whole pixels,
`whole` here, and divides by deviations as small as a millionth of 20 pixels,
which makes noise as large as motion wherever flow is not cut to whole pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from sigma_jax.motion import flow as flow_lib

REACH = 20.0  # pixels: longer steps are cut, and labels are shares of it


class Tracks(NamedTuple):
  """Where points go, pixels, x then y.

  steps: float32 [n, l, r, c, 2]. at: the same, where each step begins. valid:
  bool [n, r, c], whether all steps begin inside the frame.
  """

  steps: jax.Array
  at: jax.Array
  valid: jax.Array


def middles(rows: int, columns: int, side: float) -> jax.Array:
  """The middles of cells of `side` pixels: float32 [rows, columns, 2].

  A pixel's own middle has its number.
  """
  x, y = (
    (jnp.arange(count, dtype=jnp.float32) + 0.5) * side - 0.5
    for count in (columns, rows)
  )
  return jnp.stack(jnp.broadcast_arrays(x, y[:, None]), axis=-1)


def track(
  flows: jax.Array,
  points: jax.Array,
  camera: jax.Array | None = None,
  *,
  shrink: int = 1,
  whole: bool = False,
) -> Tracks:
  """Follows points through flows.

  Args:
    flows: float32 [n, l, h, w, 2], of each frame to the next one, in pixels of
      frames of h shrink x w shrink.
    points: float32 [r, c, 2], in the first frame.
    camera: float32 [n, l, 2, 3] of `affine`: is taken off the steps; points
      move with it nevertheless. None: nothing.
    shrink: pixels that a flow's pixel spans.
    whole: the flow at whole pixels, cut to whole pixels, as published; else
      between pixels.
  """
  count, _, height, width, _ = flows.shape
  size = height * shrink, width * shrink
  last = jnp.array([size[1] - 1, size[0] - 1], jnp.float32)
  start = jnp.broadcast_to(points, (count, *points.shape))

  def step(carry, item):
    at, valid = carry
    flow, motion = item
    valid &= jnp.all((at >= 0) & (at <= last), axis=-1)
    at = jnp.clip(at, 0.0, last)
    if whole:
      found = _taken(flow, jnp.floor(jnp.trunc(at) / shrink))
      found = jnp.trunc(jnp.clip(found, -REACH, REACH))
    else:
      found = _between(flow, (at + 0.5) / shrink - 0.5)
    seen = found if motion is None else found - moved(motion, at, size)
    return (at + found, valid), (seen, at)

  by_step = jnp.moveaxis(flows, 1, 0)
  if camera is not None:
    camera = jnp.moveaxis(camera, 1, 0)
  (_, valid), (steps, at) = jax.lax.scan(
    step, (start, jnp.ones(start.shape[:-1], bool)), (by_step, camera)
  )
  return Tracks(jnp.moveaxis(steps, 0, 1), jnp.moveaxis(at, 0, 1), valid)


def _taken(field: jax.Array, at: jax.Array) -> jax.Array:
  """[n, h, w, k] at whole places, [n, r, c, 2], or the nearest inside."""
  n, height, width, values = field.shape
  column = jnp.clip(at[..., 0], 0, width - 1).astype(jnp.int32)
  row = jnp.clip(at[..., 1], 0, height - 1).astype(jnp.int32)
  place = (row * width + column).reshape(n, -1, 1)
  found = jnp.take_along_axis(
    field.reshape(n, -1, values), place, axis=1, mode="promise_in_bounds"
  )
  return found.reshape(*at.shape[:-1], values)


def _between(field: jax.Array, at: jax.Array) -> jax.Array:
  """As `_taken`, between pixels."""
  low = jnp.floor(at)
  share = at - low
  found = jnp.zeros((*at.shape[:-1], field.shape[-1]), jnp.float32)
  for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
    corner = jnp.array([right, down], jnp.float32)
    weight = jnp.prod(jnp.abs(1.0 - corner - share), axis=-1, keepdims=True)
    found = found + weight * _taken(field, low + corner)
  return found


def of_luma(
  luma: jax.Array,
  cells: tuple[int, int],
  *,
  shrink: int = 1,
  camera: bool = True,
  whole: bool = False,
) -> Tracks:
  """The tracks of every cell of a clip's tubes; no gradient.

  Args:
    luma: uint8 [b, t, l + 1, h, w], grey: of each of t time slots the frames
      that its tracks go through.
    cells: rows and columns that a frame is cut into.
    shrink: pixels of the clip that a pixel of `luma` spans.
    camera: whether the camera's motion is taken off.
    whole: as for `track`.

  Returns:
    `Tracks`, whose first axis is [b, t], in pixels of the clip.
  """
  batch, slots, frames, height, width = luma.shape
  first, second = (
    part.reshape(-1, height, width)
    for part in (luma[:, :, :-1], luma[:, :, 1:])
  )
  flows = flow_lib.between(first, second)
  finest = height // flows.shape[1]
  flows = (finest * shrink) * flows.reshape(
    batch * slots, frames - 1, *flows.shape[1:]
  )
  shrink *= finest
  side = flows.shape[2] // cells[0]
  found = track(
    flows,
    middles(*cells, side * shrink),
    affine(flows, side, shrink) if camera else None,
    shrink=shrink,
    whole=whole,
  )
  found = Tracks(*(x.reshape(batch, slots, *x.shape[1:]) for x in found))
  return jax.lax.stop_gradient(found)


# --- the camera ---------------------------------------------------------------

_ROUNDS = 9
# Motion that is off by this much is the camera's by a quarter; pixels of a
# frame 224 wide, halved from the first to the second.
_FROM, _TO = 4.0, 1.0
_WIDTH = 224.0


def affine(flows: jax.Array, side: int, shrink: int = 1) -> jax.Array:
  """The motion of most of a frame: x and y each affine in the place.

  Least squares over cells, again and again with less weight for those that are
  far off; starts at the median.

  Args:
    flows: float32 [..., h, w, 2], in pixels of frames of h shrink x w shrink.
    side: of a cell, of the flow's pixels.
    shrink: as for `track`.

  Returns:
    float32 [..., 2, 3]: what x and y of the flow have for each of `_basis`.
  """
  height, width = flows.shape[-3:-1]
  cells = rearrange(flows, "... (r i) (c j) k -> ... r c i j k", i=side, j=side)
  found = jnp.mean(cells, axis=(-3, -2))
  places = middles(*found.shape[-3:-1], side)
  basis = _basis(places, (height, width)).reshape(-1, 3)
  found = found.reshape(*found.shape[:-3], -1, 2)
  middle = jnp.median(found, axis=-2)[..., None]
  motion = jnp.concatenate([middle, jnp.zeros((*middle.shape[:-1], 2))], -1)

  def closer(number, motion):
    reach = jnp.maximum(_FROM * 0.5 ** number.astype(jnp.float32), _TO) * (
      width * shrink / _WIDTH
    )
    away = found - jnp.einsum("pk,...jk->...pj", basis, motion)
    squares = jnp.sum(jnp.square(away), axis=-1)
    weight = jnp.square(1.0 / (1.0 + squares / reach**2))
    return _solved(basis, weight, found)

  return jax.lax.fori_loop(0, _ROUNDS, closer, motion)


def moved(motion: jax.Array, at: jax.Array, size: tuple[int, int]) -> jax.Array:
  """The camera's flow: [n, 2, 3] at [n, r, c, 2] -> [n, r, c, 2]."""
  return jnp.einsum("nrck,njk->nrcj", _basis(at, size), motion)


def _basis(at: jax.Array, size: tuple[int, int]) -> jax.Array:
  """1, and x and y from the middle in half frames: [..., 2] -> [..., 3]."""
  half = jnp.array([size[1] / 2, size[0] / 2], jnp.float32)
  return jnp.concatenate(
    [jnp.ones_like(at[..., :1]), (at + 0.5 - half) / half], axis=-1
  )


def _solved(basis: jax.Array, weight: jax.Array, found: jax.Array) -> jax.Array:
  """Weighted least squares, three unknowns for x and for y each."""
  system = jnp.einsum("pi,...p,pj->...ij", basis, weight, basis)
  right = jnp.einsum("pi,...p,...pj->...ji", basis, weight, found)
  rows = [system[..., i, :] for i in range(3)]
  crossed = jnp.stack(
    [jnp.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)], axis=-1
  )  # the adjugate: no factorisation of tiny matrices on an accelerator
  determinant = jnp.sum(rows[0] * crossed[..., 0], axis=-1)
  solution = jnp.einsum("...ij,...kj->...ki", crossed, right)
  return solution / jnp.maximum(determinant, 1e-12)[..., None, None]


# --- what is predicted --------------------------------------------------------

NORMS = ("patch_std", "none")


def labels(
  steps: jax.Array, norm: str, epsilon: float, side: int = 2
) -> jax.Array:
  """What the network predicts of each tube.

  Args:
    steps: float32 [b, t, l, r, c, 2], pixels, of the cells in each of t slots.
    norm: patch_std, of each tube's cells, by step and coordinate, minus their
      mean and over their unbiased deviation + epsilon; none.
    epsilon: of that deviation, pixels.
    side: cells along a tube's side.

  Returns:
    float32 [b, n, 2 l side^2], tubes ordered (time, row, column) and values
    (x or y, step, row, column). Without norm, shares of `REACH`.
  """
  x = rearrange(
    jnp.clip(steps, -REACH, REACH) / REACH,
    "b t l (h i) (w j) k -> b (t h w) k l (i j)",
    i=side,
    j=side,
  )
  if norm == "patch_std":
    deviation = jnp.std(x, axis=-1, keepdims=True, ddof=1)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x / (deviation + epsilon / REACH)
  return rearrange(x, "b n k l c -> b n (k l c)")


def counted(valid: jax.Array, side: int = 2) -> jax.Array:
  """Tubes of which a cell has its track: [b, t, r, c] -> bool [b, n].

  Args:
    valid: bool; or shares, of which only 1 counts.
    side: as for `labels`.
  """
  whole = valid.astype(jnp.float32) == 1.0
  cells = rearrange(whole, "b t (h i) (w j) -> b (t h w) (i j)", i=side, j=side)
  return jnp.any(cells, axis=-1)
