"""The assignment loss with its gradients, over tiles of tubes.

The plain version, `losses.assignment`, keeps several [tubes, prototypes]
matrices for each side and reads them dozens of times. But only the k-vector of
potentials has to be found, and the loss is a scalar, so its gradients can be
computed together with its value. Here the tubes are cut into tiles.

- A Sinkhorn round computes two matrix-vector products for each tile: the kernel
  exp(score / epsilon) times a k-vector, and its transpose times the inverse of
  that. It needs no exponential, no logarithm and no normalised plan.
- One more pass computes labels, cross-entropy and the gradients with respect to
  features and prototypes. A tile's scores exist only while it is its turn.

The kernels are stored once for each side, or computed again, a tile at a time,
in every round. The memory then does not depend on the number of tubes: see
`plans.Plan`. Every function here works on one device's tubes. `axes` names the
mesh axes over which the k-vectors are summed; nothing larger is.

Potentials are plain numbers u = exp(log u) if float32 is sure to hold them, and
logarithms otherwise: see `plans.fits`.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import precision
from sigma_jax.losses import plans, spaces, units


class Result(NamedTuple):
  """What a batch gives.

  loss: float32 scalar, of the global batch.
  labels: int32 [b, m], hard assignments of the video and of the target side.
  gradients: float32, of video [b, m, p], target [b, m, p] and prototypes
    [k, p]; the last is this device's share of the sum.
  """

  loss: jax.Array
  labels: tuple[jax.Array, jax.Array]
  gradients: tuple[jax.Array, jax.Array, jax.Array]


def loss(
  video: jax.Array,
  target: jax.Array,
  prototypes: jax.Array,
  plan: plans.Plan,
  spread: Callable | None = None,
  work: Callable[..., Result] | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Symmetric loss of one global batch: `assignment.loss`, fast.

  Args:
    video, target: float32 [b, m, p], not yet normalised.
    prototypes: float32 [k, p] with unit rows.
    plan: from `plans.make`.
    spread: turns a function of one device's rows into one of the whole batch,
      see `train.mesh.over_batch`; None if there is one device.
    work: computes it instead of `loss_and_gradients`.

  Returns:
    float32 scalar and int32 [b, m] hard labels of the video and target sides.
  """
  work = work or loss_and_gradients
  return _loss(video, target, prototypes, plan, spread, work)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _loss(video, target, prototypes, plan, spread, work):
  return _forward(video, target, prototypes, plan, spread, work)[0]


def _forward(video, target, prototypes, plan, spread, work):
  """The loss; its gradients are what is kept for the backward pass."""

  def local(axes, video, target, prototypes):
    found = work(video, target, prototypes, plan, axes)
    *features, learnt = found.gradients
    return found.loss, found.labels, (*features, spaces.sum_over(learnt, axes))

  if spread is None:
    run = functools.partial(local, ())
  else:
    run = spread(
      local,
      split_in=(True, True, False),
      split_out=(False, (True, True), (True, True, False)),
    )
  total, labels, gradients = run(video, target, prototypes)
  return (total, labels), gradients


def _backward(plan, spread, work, gradients, cotangents):
  del plan, spread, work
  return tuple(cotangents[0] * g for g in gradients)


_loss.defvjp(_forward, _backward)


def loss_and_gradients(
  video: jax.Array,
  target: jax.Array,
  prototypes: jax.Array,
  plan: plans.Plan,
  axes: tuple[str, ...] = (),
) -> Result:
  """Loss of the global batch and gradients at this device's features.

  Args:
    video, target: float32 [b, m, p], this device's clips.
    prototypes: float32 [k, p], unit rows, the same on every device.
    plan: from `plans.make`.
    axes: mesh axes that the batch is split over; () outside shard_map.
  """
  prototypes = prototypes.astype(plan.dtype)
  tubes = Tubes(video.shape[0] * video.shape[1], plan.tiles)
  num_tubes = tubes.count * num_devices(axes)
  tiles = (tubes.cut(video), tubes.cut(target))
  solved = _solve(tiles, prototypes, tubes, plan, axes)
  total, labels, gradients = _judge(solved, prototypes, tubes, plan, num_tubes)
  return Result(
    spaces.sum_over(total, axes),
    tuple(tubes.join(y, video.shape[:2]) for y in labels),
    (*(tubes.join(g, video.shape) for g in gradients[:2]), gradients[2]),
  )


class Tubes(NamedTuple):
  """A device's tubes as equal tiles; the last is filled up with zero rows."""

  count: int
  tiles: int

  @property
  def rows(self) -> int:
    return math.ceil(self.count / self.tiles)

  def cut(self, x: jax.Array) -> jax.Array:
    """[b, m, ...] -> [tiles, rows, ...]."""
    x = x.reshape(self.count, *x.shape[2:])
    missing = self.tiles * self.rows - self.count
    if missing:
      x = jnp.pad(x, ((0, missing), *((0, 0) for _ in x.shape[1:])))
    return x.reshape(self.tiles, self.rows, *x.shape[1:])

  def join(self, x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[tiles, rows, ...] -> `shape`, [b, m, ...]."""
    x = x.reshape(self.tiles * self.rows, *x.shape[2:])
    return x[: self.count].reshape(shape)

  def weights(self) -> jax.Array:
    """float32 [tiles, rows]: 1, and 0 for rows that are no tubes."""
    index = jnp.arange(self.tiles * self.rows)
    return (index < self.count).astype(jnp.float32).reshape(self.tiles, -1)


class _Solved(NamedTuple):
  """Both sides' solved transport problems, video first.

  tiles: the features, [tiles, rows, p]. kernels: float32 [tiles, rows, k], or
  None where they are recomputed. potentials: float32 [k], see
  `plans.Plan.log_space`.
  """

  tiles: tuple[jax.Array, jax.Array]
  kernels: tuple[jax.Array | None, jax.Array | None]
  potentials: tuple[jax.Array, jax.Array]


def _solve(tiles, prototypes, tubes, plan, axes) -> _Solved:
  """Sinkhorn: prototypes are scaled first, then tubes, `rounds` times.

  As in the published code, the first scaling sees kernels that no tube's
  scaling has touched. Constants that are common to all prototypes are left
  out: a tube's assignment does not see them. Both sides share their loops:
  half as many sums over devices, and XLA makes no copy of the kernels.
  """
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  weights = tubes.weights()
  empty = (space.no_mass(prototypes.shape[0]),) * 2

  def first(masses, tile):
    x, weight = tile
    kernels = [space.kernel(_scores(z, prototypes, plan), plan) for z in x]
    scale = space.unscaled(weight)
    masses = [
      space.add(m, e, scale) for m, e in zip(masses, kernels, strict=True)
    ]
    return tuple(masses), tuple(kernels) if plan.keep else (None, None)

  masses, kernels = jax.lax.scan(first, empty, (tiles, weights))

  def one_round(_, potentials):
    def body(masses, tile):
      x, weight, kernels = tile
      new = []
      for z, kernel, potential, mass in zip(
        x, kernels, potentials, masses, strict=True
      ):
        if kernel is None:
          kernel = space.kernel(_scores(z, prototypes, plan), plan)
        scale = space.scale(kernel, potential, weight)
        new.append(space.add(mass, kernel, scale))
      return tuple(new), None

    masses, _ = jax.lax.scan(body, empty, (tiles, weights, kernels))
    return space.potential(masses, axes)

  potentials = jax.lax.fori_loop(
    1, plan.rounds, one_round, space.potential(masses, axes)
  )
  return _Solved(tiles, kernels, potentials)


def _judge(solved, prototypes, tubes, plan, num_tubes):
  """Labels, loss and gradients, in one pass over the tiles."""
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  k = prototypes.shape[0]

  def body(carry, tile):
    total, by_prototypes = carry
    weight, tiles, kernels = tile
    sides = [units.normalize(x, plan) for x in tiles]
    kernels = [
      space.kernel(_scores(x, prototypes, plan), plan) if e is None else e
      for x, e in zip(tiles, kernels, strict=True)
    ]
    plans = [
      space.scaled(e, potential)
      for e, potential in zip(kernels, solved.potentials, strict=True)
    ]
    # Without the barrier XLA fuses the search into the errors' loops.
    labels = jax.lax.optimization_barrier([spaces.argmax(q) for q, _ in plans])
    weight = weight / num_tubes
    errors = []
    for kernel, (q, mass), label in zip(
      kernels, plans[::-1], labels[::-1], strict=True
    ):
      prediction = space.prediction(kernel, plan)
      norm = spaces.times(prediction, jnp.ones((k,), jnp.float32))
      if plan.labels == "hard":
        wanted = (label[:, None] == jnp.arange(k)).astype(jnp.float32)
        picked = space.picked(kernel, prediction, label, plan)
      else:
        wanted = q / mass
        picked = jnp.sum(wanted * space.logits(kernel, plan), axis=-1)
      if plan.groups:
        picked, wanted = _over_levels(
          space, kernel, prediction, picked, wanted, plan
        )
      total += jnp.sum(weight * (jnp.log(norm) - picked))
      scale = weight / plan.temperature
      error = prediction * (scale / norm)[:, None] - wanted * scale[:, None]
      errors.append(error.astype(plan.dtype))
    gradients = [
      x.pull(precision.einsum("rk,kp->rp", g, prototypes))
      for x, g in zip(sides, errors, strict=True)
    ]
    by_prototypes += precision.einsum("rk,rp->kp", errors[1], sides[1].unit)
    return (total, by_prototypes), (labels, gradients)

  empty = (jnp.zeros((), jnp.float32), jnp.zeros(prototypes.shape, jnp.float32))
  (total, by_prototypes), (labels, gradients) = jax.lax.scan(
    body,
    empty,
    (tubes.weights(), solved.tiles, solved.kernels),
  )
  return total, labels, (*gradients, by_prototypes)


def _over_levels(space, kernel, prediction, picked, wanted, plan):
  """A tile's terms of the mean cross-entropy over the levels of a tree.

  With S_a the sum of exp(logit) over the leaves of node a, and q_a that of the
  wanted shares, a level's cross-entropy is log norm - sum_a q_a log S_a; its
  gradient by the logit of leaf j in a is p_j - q_a exp(logit_j) / S_a.

  Args:
    picked: float32 [rows], the wanted shares times the leaves' logits.
    wanted: float32 [rows, k], wanted shares of the leaves.

  Returns:
    Both, as they enter loss and gradients in the place of the leaves' own.
  """
  total, shares = plan.weights[-1] * picked, plan.weights[-1] * wanted
  for count, weight in zip(plan.groups, plan.weights[:-1], strict=True):
    log_sums, inside = space.inside(kernel, prediction, count, plan)
    of_nodes = jnp.sum(wanted.reshape(inside.shape), axis=-1)
    total += weight * jnp.sum(of_nodes * log_sums, axis=-1)
    shares += weight * (of_nodes[..., None] * inside).reshape(wanted.shape)
  return total, shares


def _scores(x, prototypes, plan):
  """float32 [rows, k]."""
  return precision.einsum(
    "rp,kp->rk", units.normalize(x, plan).unit, prototypes
  )


def num_devices(axes: tuple[str, ...]) -> int:
  """Over which the mesh axes spread a batch."""
  return math.prod(jax.lax.axis_size(axis) for axis in axes)
