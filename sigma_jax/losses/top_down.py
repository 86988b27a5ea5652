"""Prototypes in a tree, assigned from the top: tiled, as `losses.tiled`.

The coarsest level is assigned as in SIGMA. A node's children then divide what
each tube gave to the node. With P_a the share of node a, its child c gets

  P_c = P_a exp(s_c / epsilon + w_c) / sum over a's children of the same.

w is found as potentials are: each round subtracts the logarithm of the mass
that the child has received. So for every tube the children sum to their parent,
and all nodes of a level come to the same mass. The prediction goes down in the
same way, by softmax over siblings. The loss of a level is the cross-entropy of
the conditional shares, weighted by what the other side's tubes give to the
parents. With weights of 1 the sum over levels is the cross-entropy of the
leaves' shares.

Potentials are logarithms. Rounds work on plain numbers if float32 is sure to
hold them, as in the flat loss: see `plans.fits`.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from sigma_jax import precision
from sigma_jax.losses import plans, spaces, tiled, units
from sigma_jax.losses.levels import Labels


def loss(
  video: jax.Array,
  target: jax.Array,
  nodes: Sequence[jax.Array],
  plan: plans.Plan,
  spread: Callable | None = None,
) -> tuple[jax.Array, list[Labels]]:
  """Symmetric loss of one global batch.

  Args:
    video, target: float32 [b, m, p], not yet normalised.
    nodes: float32 [k_l, p], unit rows, of every level, leaves last.
    plan: of all nodes; its groups are the counts of all levels but the last,
      its weights those of all levels, whatever their sum.
    spread: see `tiled.loss`.

  Returns:
    float32 scalar, and the labels of every level, leaves last: the leaf of the
    largest share, and its ancestors.
  """
  together = jnp.concatenate(nodes)
  total, labels = tiled.loss(
    video, target, together, plan, spread, loss_and_gradients
  )
  leaves = nodes[-1].shape[0]
  above = [
    tuple(side // (leaves // level.shape[0]) for side in labels)
    for level in nodes[:-1]
  ]
  return total, [*above, labels]


def loss_and_gradients(
  video: jax.Array,
  target: jax.Array,
  nodes: jax.Array,
  plan: plans.Plan,
  axes: tuple[str, ...] = (),
) -> tiled.Result:
  """As `tiled.loss_and_gradients`, with all nodes in the prototypes' place."""
  nodes = nodes.astype(plan.dtype)
  counts = (*plan.groups, nodes.shape[0] - sum(plan.groups))
  tubes = tiled.Tubes(video.shape[0] * video.shape[1], plan.tiles)
  tiles = (tubes.cut(video), tubes.cut(target), tubes.weights())
  kernels = _kernels(tiles, nodes, plan) if plan.keep else (None, None)
  potentials = [jnp.zeros((2, n), jnp.float32) for n in counts]
  for level in range(len(counts)):
    run = _round(tiles, kernels, nodes, counts, level, plan, axes)
    first = 0
    if level == 0:  # as the flat loss: before any tube is scaled
      potentials, first = run(potentials, True), 1
    potentials = jax.lax.fori_loop(
      first, plan.rounds, lambda _, x, run=run: run(x, False), potentials
    )
  total, labels, gradients = _judge(
    tiles, kernels, nodes, counts, potentials, plan
  )
  number = tubes.count * tiled.num_devices(axes)
  total, gradients = jax.tree.map(lambda x: x / number, (total, gradients))
  return tiled.Result(
    spaces.sum_over(total, axes),
    tuple(tubes.join(y, video.shape[:2]) for y in labels),
    (*(tubes.join(g, video.shape) for g in gradients[:2]), gradients[2]),
  )


def _scores(x, nodes, plan):
  """float32 [rows, all nodes], as `spaces` has kernels."""
  unit = units.normalize(x, plan).unit
  scores = precision.einsum("rp,kp->rk", unit, nodes)
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  return space.kernel(scores, plan)


def _kernels(tiles, nodes, plan):
  """Both sides' kernels, a tile after the other: [tiles, rows, all nodes]."""
  return tuple(
    jax.lax.map(lambda x: _scores(x, nodes, plan), side) for side in tiles[:2]
  )


def _levels(x, counts):
  """[rows, all nodes] -> [rows, k_l] a level."""
  return jnp.split(x, list(itertools.accumulate(counts))[:-1], axis=1)


def _inside(logits, above: int):
  """log softmax over siblings, [rows, k]; above: parents; 0: there are none."""
  groups = logits.reshape(logits.shape[0], above or 1, -1)
  return jax.nn.log_softmax(groups, axis=-1).reshape(logits.shape)


def _under(x, k: int):
  """Of parents, [rows, a] -> of each one's children, [rows, k]."""
  return jnp.repeat(x, k // x.shape[1], axis=1, total_repeat_length=k)


def _log_shares(logits, potentials, last: int):
  """Logarithms of the shares of the levels up to `last`."""
  found = []
  for level in range(last + 1):
    scaled = logits[level] + potentials[level]
    above = found[-1] if found else None
    inside = _inside(scaled, 0 if above is None else above.shape[1])
    if above is not None:
      inside += _under(above, inside.shape[1])
    found.append(inside)
  return found


def _round(tiles, kernels, nodes, counts, level, plan, axes):
  """A function (potentials, unscaled) -> potentials, of one level's round."""
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  masses_of = _log_masses if plan.log_space else _masses

  def run(potentials, unscaled):
    def body(masses, tile):
      *sides, weight, kept = tile
      new = []
      for side, (x, scores) in enumerate(zip(sides, kept, strict=True)):
        if scores is None:
          scores = _scores(x, nodes, plan)
        mine = [p[side] for p in potentials[: level + 1]]
        parts = _levels(scores, counts)[: level + 1]
        mass = masses_of(parts, mine, weight, unscaled)
        add = jnp.logaddexp if plan.log_space else jnp.add
        new.append(add(masses[side], mass))
      return tuple(new), None

    empty = (space.no_mass(counts[level]),) * 2
    masses, _ = jax.lax.scan(body, empty, (*tiles, kernels))
    found = list(potentials)
    found[level] = _moved(found[level], masses, counts, level, plan, axes)
    return found

  return run


def _moved(before, masses, counts, level, plan, axes):
  """Both sides' logarithms of potentials after a round, [2, k]."""
  if plan.log_space:
    return before + jnp.stack(spaces.Logarithms.potential(masses, axes))
  # Masses are without the potential. Siblings' largest is 1, which keeps all
  # numbers in the bounds of `plans.fits`.
  both = jnp.stack(spaces.sum_over(masses, axes))
  siblings = both.reshape(2, counts[level - 1] if level else 1, -1)
  least = jnp.min(siblings, axis=-1, keepdims=True)
  return jnp.log(least / siblings).reshape(both.shape)


def _log_masses(logits, potentials, weight, unscaled):
  """Logarithms of what each node of the last level receives of a tile."""
  if unscaled:
    shares = logits[0]
  else:
    shares = _log_shares(logits, potentials, len(logits) - 1)[-1]
  return jax.nn.logsumexp(shares + jnp.log(weight)[:, None], axis=0)


def _masses(kernels, potentials, weight, unscaled):
  """The same as a number, over exp(potential)."""
  if unscaled:
    return spaces.Numbers.add(0.0, kernels[0], weight)
  above = weight[:, None]
  for kernel, potential in zip(kernels, potentials, strict=True):
    members = kernel.reshape(kernel.shape[0], above.shape[1], -1)
    u = jnp.exp(potential).reshape(members.shape[1:])
    given = above / precision.einsum("bar,ar->ba", members, u)
    above = (given[..., None] * members * u).reshape(kernel.shape)
  return precision.einsum("bar,ba->ar", members, given).reshape(-1)


def _judge(tiles, kernels, nodes, counts, potentials, plan):
  """Labels, loss and gradients, in one pass; sums over tubes, no means."""

  def body(carry, tile):
    total, by_nodes = carry
    *sides, weight, kept = tile
    unit = [units.normalize(x, plan) for x in sides]
    scores = [
      _scores(x, nodes, plan) if e is None else e
      for x, e in zip(sides, kept, strict=True)
    ]
    if not plan.log_space:
      scores = [jnp.log(x) for x in scores]
    logits = [_levels(x, counts) for x in scores]
    shares = [
      _log_shares(x, [p[side] for p in potentials], len(counts) - 1)
      for side, x in enumerate(logits)
    ]
    labels = [spaces.argmax(x[-1]) for x in shares]
    errors = []
    for mine, other, label in zip(
      logits, shares[::-1], labels[::-1], strict=True
    ):
      value, error = _entropy(mine, _wanted(other, label, plan), plan)
      total += jnp.sum(weight * value)
      errors.append((error * weight[:, None]).astype(plan.dtype))
    gradients = [
      x.pull(precision.einsum("rk,kp->rp", g, nodes))
      for x, g in zip(unit, errors, strict=True)
    ]
    by_nodes += precision.einsum("rk,rp->kp", errors[1], unit[1].unit)
    return (total, by_nodes), (labels, gradients)

  empty = (jnp.zeros((), jnp.float32), jnp.zeros(nodes.shape, jnp.float32))
  (total, by_nodes), (labels, gradients) = jax.lax.scan(
    body, empty, (*tiles, kernels)
  )
  return total, labels, (*gradients, by_nodes)


def _wanted(log_shares, label, plan):
  """What each level of the other side is to predict, [rows, k_l] a level."""
  if plan.labels == "soft":
    return [jnp.exp(x) for x in log_shares]
  leaves = log_shares[-1].shape[1]
  counts = [x.shape[1] for x in log_shares]
  return [
    (label[:, None] // (leaves // n) == jnp.arange(n)).astype(jnp.float32)
    for n in counts
  ]


def _entropy(logits, wanted, plan):
  """Weighted cross-entropy of each row, [rows]; and its gradient by scores."""
  total, errors = 0.0, []
  above = jnp.ones((logits[0].shape[0], 1), jnp.float32)
  power = plan.epsilon / plan.temperature
  for mine, share, weight in zip(logits, wanted, plan.weights, strict=True):
    log_p = _inside(mine * power, above.shape[1])
    total -= weight * jnp.sum(share * log_p, axis=-1)
    parents = _under(above, share.shape[1])
    error = parents * jnp.exp(log_p) - share
    errors.append(error * (weight / plan.temperature))
    above = share
  return total, jnp.concatenate(errors, axis=1)
