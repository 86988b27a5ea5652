"""k-means with Euclidean distances, a tile of the points at a time.

All restarts advance together: every pass reads the points once, and no more
than [restarts, k, tile] scores exist at any time.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import precision

_TILE = 8192  # points scored at once
# Full float32 on every device: TPUs and GPUs would round the factors.


class Clusters(NamedTuple):
  """labels: int32 [n], the nearest centre. centers: float32 [k, d].

  inertia: float32 [], sum of squared distances to the nearest centre.
  """

  labels: jax.Array
  centers: jax.Array
  inertia: jax.Array


class _Tiles(NamedTuple):
  """points: [s, m, d]. norms: [s, m], squared. valid: [s, m], 1 or 0 (pad)."""

  points: jax.Array
  norms: jax.Array
  valid: jax.Array


@functools.partial(jax.jit, static_argnames=("k", "iterations", "restarts"))
def fit(
  points: jax.Array,
  key: jax.Array,
  *,
  k: int,
  iterations: int = 50,
  restarts: int = 5,
) -> Clusters:
  """Lloyd's algorithm from k-means++ starts; the best of several.

  A cluster left without points moves to the point that is farthest from its
  centre. Ties go to the cluster of lower number.

  Args:
    points: float32 [n, d], n at least 1; k may exceed the distinct points.
    key: of the starts; the result is a function of it and the points.
    k: clusters.
    iterations: at most; a restart that does not change any more is done.
    restarts: independent starts, of which the least inertia is kept.
  """
  mean = jnp.mean(points, axis=0)
  tiles = _split(points - mean)
  centers = _start(tiles, key, k, restarts)

  def iterate(carry):
    step, centers, _ = carry
    after = _lloyd(tiles, centers)
    return step + 1, after, jnp.any(after != centers)

  def goes_on(carry):
    return (carry[0] < iterations) & carry[2]

  carry = (jnp.int32(0), centers, jnp.bool_(True))
  centers = jax.lax.while_loop(goes_on, iterate, carry)[1]
  labels, inertia = _assign(tiles, centers)
  best = jnp.argmin(inertia)
  labels = labels[:, best].reshape(-1)[: len(points)]
  return Clusters(labels, centers[best] + mean, inertia[best])


def _split(points: jax.Array) -> _Tiles:
  n, d = points.shape
  size = min(_TILE, n)
  pad = -n % size
  padded = jnp.pad(points, ((0, pad), (0, 0))).reshape(-1, size, d)
  valid = (jnp.arange(n + pad) < n).astype(jnp.float32).reshape(-1, size)
  return _Tiles(padded, jnp.sum(jnp.square(padded), axis=-1), valid)


def _start(tiles: _Tiles, key: jax.Array, k: int, restarts: int) -> jax.Array:
  """Greedy k-means++: [r, k, d].

  As https://dl.acm.org/doi/10.5555/1283383.1283494, with 2 + log k candidates
  for every centre after the first; the best one is taken.
  """
  keys = jax.random.split(key, k)
  candidates = 2 + int(math.log(k))
  draw = functools.partial(_draw, tiles)
  of_one = jax.vmap(draw, in_axes=(0, None))
  to_center = jax.vmap(functools.partial(_distances, tiles))

  def add(number, carry):
    centers, nearest = carry
    of_each = jax.random.split(keys[number], (restarts, candidates))
    tried = jax.vmap(of_one)(of_each, nearest)
    best = jnp.argmin(_potentials(tiles, nearest, tried), axis=1)
    center = jnp.take_along_axis(tried, best[:, None, None], axis=1)[:, 0]
    nearest = jnp.minimum(nearest, to_center(center))
    return centers.at[:, number].set(center), nearest

  evenly = jnp.broadcast_to(tiles.valid, (restarts, *tiles.valid.shape))
  first = jax.vmap(draw)(jax.random.split(keys[0], restarts), evenly)
  centers = jnp.repeat(first[:, None], k, axis=1)
  return jax.lax.fori_loop(1, k, add, (centers, to_center(first)))[0]


def _potentials(tiles: _Tiles, nearest: jax.Array, tried: jax.Array):
  """Inertia with each of the candidates [r, l, d]: [r, l].

  nearest: squared distances to the centres so far, [r, s, m].
  """

  def add(sums, tile):
    tile, nearest = tile
    distances = jax.vmap(jax.vmap(functools.partial(_distances, tile)))(tried)
    distances = jnp.minimum(distances, nearest[:, None])
    return sums + jnp.sum(distances, axis=-1), None

  zero = jnp.zeros(tried.shape[:2], jnp.float32)
  return jax.lax.scan(add, zero, (tiles, jnp.moveaxis(nearest, 1, 0)))[0]


def _distances(tiles: _Tiles, center: jax.Array) -> jax.Array:
  """Squared, of all points to [d]; 0 where there is no point."""
  products = precision.einsum("...d,d->...", tiles.points, center)
  gaps = tiles.norms - 2 * products + jnp.sum(jnp.square(center))
  return jnp.maximum(gaps, 0.0) * tiles.valid


def _draw(tiles: _Tiles, key: jax.Array, weights: jax.Array) -> jax.Array:
  """One point [d], as probable as its weight [s, m]; first of all tiles."""
  of_tile, of_point = jax.random.split(key)
  totals = jnp.log(jnp.sum(weights, axis=1))
  tile = jax.random.categorical(of_tile, totals)
  point = jax.random.categorical(of_point, jnp.log(weights[tile]))
  return tiles.points[tile, point]


def _scores(points: jax.Array, centers: jax.Array) -> jax.Array:
  """2 x c - |c|^2 of [m, d] and [r, k, d]: [r, k, m], largest if nearest."""
  products = precision.einsum("rkd,md->rkm", centers, points)
  return 2 * products - jnp.sum(jnp.square(centers), axis=-1)[:, :, None]


def _lloyd(tiles: _Tiles, centers: jax.Array) -> jax.Array:
  """One iteration: [r, k, d] -> [r, k, d]."""
  k = centers.shape[1]

  def add(carry, tile):
    sums, counts = carry
    label = jnp.argmax(_scores(tile.points, centers), axis=1)
    chosen = label[:, None] == jnp.arange(k, dtype=label.dtype)[:, None]
    chosen = chosen.astype(jnp.float32) * tile.valid
    sums += precision.einsum("rkm,md->rkd", chosen, tile.points)
    return (sums, counts + jnp.sum(chosen, axis=-1)), None

  zero = jnp.zeros_like(centers), jnp.zeros(centers.shape[:2], jnp.float32)
  (sums, counts), _ = jax.lax.scan(add, zero, tiles)
  empty = (counts == 0)[..., None]
  means = sums / jnp.maximum(counts, 1)[..., None]
  return jax.lax.cond(
    jnp.any(empty),
    lambda: jnp.where(empty, _farthest(tiles, centers)[:, None], means),
    lambda: means,
  )


def _farthest(tiles: _Tiles, centers: jax.Array) -> jax.Array:
  """The point of each restart that is farthest from all centres: [r, d]."""

  def compare(carry, tile):
    best, point = carry
    gaps = tile.norms - jnp.max(_scores(tile.points, centers), axis=1)
    gaps = jnp.where(tile.valid > 0, gaps, -jnp.inf)
    place = jnp.argmax(gaps, axis=1)
    gap = jnp.take_along_axis(gaps, place[:, None], axis=1)
    point = jnp.where(gap > best, tile.points[place], point)
    return (jnp.maximum(best, gap), point), None

  restarts, _, d = centers.shape
  start = jnp.full((restarts, 1), -jnp.inf), jnp.zeros((restarts, d))
  return jax.lax.scan(compare, start, tiles)[0][1]


def _assign(tiles: _Tiles, centers: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Labels int32 [s, r, m] and inertia float32 [r]."""

  def one(inertia, tile):
    scores = _scores(tile.points, centers)
    gaps = jnp.maximum(tile.norms - jnp.max(scores, axis=1), 0.0) * tile.valid
    label = jnp.argmax(scores, axis=1).astype(jnp.int32)
    return inertia + jnp.sum(gaps, axis=-1), label

  zero = jnp.zeros(len(centers), jnp.float32)
  inertia, labels = jax.lax.scan(one, zero, tiles)
  return labels, inertia
