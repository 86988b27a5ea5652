"""Optical flow between a clip's frames, from its pixels alone.

A coarse search over whole displacements is followed by a few rounds of Lucas
and Kanade (1981) on finer and finer images. It has no weights and stores
nothing. It is the same for every file format, on every device, and however the
batch is split. docs/methods/mgmae.md says how good it is.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sigma_jax.motion import warping

# Flow of each first frame to its second one: two uint8 [b, p, h, w, 3] ->
# float32 [b, p, h', w', 2] in pixels of its own size, a whole part of h and w.
Estimate = Callable[[jax.Array, jax.Array], jax.Array]

_COARSEST = 28  # pixels of the shorter side that the search's images have
_LEVELS = 3  # each twice as fine as the one before
_REACH = 6  # of the search, pixels of the coarsest image: 48 at 224
_PENALTY = 0.01  # of the search, for each pixel of length
_ROUNDS = 3  # of Lucas-Kanade at each level
_DAMPING = 0.03  # on the diagonal of the tensor summed over a window
_WINDOW = 5  # pixels a side
# A flow has to explain its window better than no motion does: to this share of
# its error, less this. Of still and of flat parts it keeps noise out.
_SHARE, _LESS = 0.95, 0.001


def factors(height: int, width: int) -> tuple[int, ...]:
  """How many pixels of the clip a pixel of each level spans, coarsest first."""
  factor = 1
  while (
    min(height, width) // (2 * factor) >= _COARSEST
    and height % (2 * factor) == width % (2 * factor) == 0
  ):
    factor *= 2
  return tuple(
    factor >> level for level in range(_LEVELS) if factor >> level > 0
  )


def between(first: jax.Array, second: jax.Array) -> jax.Array:
  """The flow of each first frame to its second one.

  Args:
    first, second: uint8 [n, h, w, 3], or [n, h, w] in grey.

  Returns:
    float32 [n, h', w', 2], in pixels of the finest level: h' is h divided by
    the last of `factors`. No gradient.
  """
  flow = None
  for factor in factors(*first.shape[1:3]):
    ours, theirs = (_pooled(frames, factor) for frames in (first, second))
    if flow is None:
      flow = _searched(ours, theirs)
    flow = _refined(ours, theirs, warping.resized(flow, ours.shape[1:]))
  return jax.lax.stop_gradient(flow)


def of_pairs(first: jax.Array, second: jax.Array) -> jax.Array:
  """`between` of uint8 [b, p, h, w, 3]: float32 [b, p, h', w', 2]."""
  batch, pairs = first.shape[:2]
  flow = between(
    *(x.reshape(batch * pairs, *x.shape[2:]) for x in (first, second))
  )
  return flow.reshape(batch, pairs, *flow.shape[1:])


def towards(
  video: jax.Array,
  base: int,
  *,
  reverse_early: bool = True,
  estimate: Estimate = of_pairs,
) -> jax.Array:
  """Flows between neighbouring frames, each towards the base frame.

  Args:
    video: uint8 [b, t, h, w, 3].
    base: a frame's number.
    reverse_early: if false, pairs before the base have the flow of the later
      frame to the earlier one, as those after the base have; that is away from
      the base.
    estimate: how flow is found.

  Returns:
    float32 [b, t - 1, h', w', 2], of `estimate`'s size: of frame i to i + 1 for
    pairs i before the base, of frame i + 1 to i for the others.
  """
  early, late = video[:, :-1], video[:, 1:]
  if reverse_early:
    before = (jnp.arange(video.shape[1] - 1) < base)[:, None, None, None]
    early, late = (
      jnp.where(before, late, early),
      jnp.where(before, early, late),
    )
  return estimate(late, early)


def _pooled(frames: jax.Array, factor: int) -> jax.Array:
  """Means in grey, float32 [n, h', w'] in [0, 1], of what `between` takes."""
  n, height, width = frames.shape[:3]
  grey = frames.astype(jnp.float32)
  if grey.ndim == 4:
    grey = 0.299 * grey[..., 0] + 0.587 * grey[..., 1] + 0.114 * grey[..., 2]
  cut = grey.reshape(n, height // factor, factor, width // factor, factor)
  return jnp.mean(cut, axis=(2, 4)) / 255.0


def _all_shifts(x: jax.Array, reach: int) -> jax.Array:
  """[n, h, w] moved by -reach .. reach in rows, then columns: [k, n, h, w]."""
  height, width = x.shape[-2:]
  side = 2 * reach + 1
  padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
  rows = jnp.stack([padded[:, i : i + height] for i in range(side)])
  both = jnp.stack([rows[..., j : j + width] for j in range(side)], axis=1)
  return both.reshape(side**2, *x.shape)


def _windowed(x: jax.Array) -> jax.Array:
  """Means over windows around each pixel of [..., h, w]."""
  height, width = x.shape[-2:]
  half = _WINDOW // 2
  pads = [(0, 0)] * (x.ndim - 2) + [(half, half)] * 2
  x = jnp.pad(x, pads, mode="edge")
  rows = sum(x[..., i : i + height, :] for i in range(_WINDOW))
  return sum(rows[..., j : j + width] for j in range(_WINDOW)) / _WINDOW**2


def _median(x: jax.Array) -> jax.Array:
  """Medians of 3 x 3 pixels of [n, h, w], by 19 exchanges (Smith, 1996)."""
  p = list(_all_shifts(x, 1))
  for i, j in (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8)),
    *((0, 3), (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4)),
    (4, 2),
  ):
    p[i], p[j] = jnp.minimum(p[i], p[j]), jnp.maximum(p[i], p[j])
  return p[4]


def _smoothed(flow: jax.Array) -> jax.Array:
  """`_median` of each component of [n, h, w, 2]."""
  # One after the other: pairs are split over devices, and joined along that
  # axis both components would be sent from device to device.
  return jnp.stack([_median(flow[..., i]) for i in (0, 1)], axis=-1)


def _searched(first: jax.Array, second: jax.Array) -> jax.Array:
  """The best of all whole displacements, to parts of a pixel by a parabola."""
  side = 2 * _REACH + 1
  offsets = jnp.arange(-_REACH, _REACH + 1, dtype=jnp.float32)
  length = jnp.hypot(offsets[:, None], offsets).reshape(-1, 1, 1, 1)
  moved = _all_shifts(second, _REACH)
  cost = _windowed(jnp.abs(first - moved)) + _PENALTY * length
  best = jnp.argmin(cost, axis=0)
  lowest = jnp.min(cost, axis=0)
  row, column = best // side, best % side

  def at(place):
    return jnp.take_along_axis(cost, place[None], axis=0)[0]

  def between_steps(place, step):
    """The lowest point of the parabola through three neighbouring costs."""
    inside = (place > 0) & (place < side - 1)
    before, after = (
      at(jnp.where(inside, best + k, best)) for k in (-step, step)
    )
    bend = before - 2 * lowest + after
    part = 0.5 * (before - after) / jnp.maximum(bend, 1e-6)
    part = jnp.where(inside, jnp.clip(part, -0.5, 0.5), 0.0)
    return place.astype(jnp.float32) - _REACH + part

  flow = jnp.stack(
    [between_steps(column, 1), between_steps(row, side)], axis=-1
  )
  return _smoothed(flow)


def _refined(first: jax.Array, second: jax.Array, flow: jax.Array) -> jax.Array:
  """Rounds of Lucas-Kanade; no motion where that explains as much."""
  total = float(_WINDOW**2)
  moved = _all_shifts(first, 1)  # up and left first
  right = 0.5 * (moved[5] - moved[3])
  down = 0.5 * (moved[7] - moved[1])
  xx = total * _windowed(right * right) + _DAMPING
  yy = total * _windowed(down * down) + _DAMPING
  xy = total * _windowed(right * down)
  determinant = xx * yy - xy * xy

  def one(_, flow):
    change = first - warping.warp(second, flow)
    x = total * _windowed(right * change)
    y = total * _windowed(down * change)
    step = jnp.stack([yy * x - xy * y, xx * y - xy * x], axis=-1)
    step = jnp.clip(step / determinant[..., None], -1.0, 1.0)
    return _smoothed(flow + step)

  flow = jax.lax.fori_loop(0, _ROUNDS, one, flow)
  error = functools.partial(_error, first)
  better = error(warping.warp(second, flow)) < _SHARE * error(second) - _LESS
  return jnp.where(better[..., None], flow, 0.0)


def _error(first: jax.Array, second: jax.Array) -> jax.Array:
  return _windowed(jnp.abs(first - second))
