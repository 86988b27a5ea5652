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

In a tile tubes are columns, see `families`. Potentials are logarithms. Rounds
work on plain numbers if float32 is sure to hold them, as in the flat loss: see
`plans.fits`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from sigma_jax import precision
from sigma_jax.losses import families, levels, plans, spaces, tiled, units
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
  parts = levels.split(nodes, counts)
  kernels = _kept(tiles, parts, plan)
  potentials = [jnp.zeros((2, n), jnp.float32) for n in counts]
  for level in range(len(counts)):
    run = _round(tiles, kernels, parts[: level + 1], potentials, plan, axes)
    first = 0
    if level == 0:  # as the flat loss: before any tube is scaled
      potentials[0], first = run(potentials[0], True), 1
    potentials[level] = jax.lax.fori_loop(
      first, plan.rounds, lambda _, x, run=run: run(x, False), potentials[level]
    )
  total, labels, gradients = _judge(tiles, kernels, nodes, potentials, plan)
  number = tubes.count * tiled.num_devices(axes)
  total, gradients = jax.tree.map(lambda x: x / number, (total, gradients))
  return tiled.Result(
    spaces.sum_over(total, axes),
    tuple(tubes.join(y, video.shape[:2]) for y in labels),
    (*(tubes.join(g, video.shape) for g in gradients[:2]), gradients[2]),
  )


def _kernels(x, nodes, plan):
  """As `spaces` has them, float32 [k_l, rows], of the levels in `nodes`."""
  unit = units.normalize(x, plan).unit
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  return [
    space.kernel(precision.einsum("kp,rp->kr", level, unit), plan)
    for level in nodes
  ]


def _kept(tiles, nodes, plan):
  """Both sides' kernels, [tiles, k_l, rows] a level; None: not to be kept.

  An array a level: a round of one must not read those below it.
  """
  if not plan.keep:
    return [[None] * len(nodes)] * 2
  return jax.lax.map(
    lambda sides: [_kernels(x, nodes, plan) for x in sides], tiles[:2]
  )


def _inside(logits, above: int):
  """log softmax over siblings, [k, rows]; above: parents; 0: there are none."""
  groups = logits.reshape(above or 1, -1, logits.shape[1])
  return jax.nn.log_softmax(groups, axis=1).reshape(logits.shape)


def _down(kernel, potential, above, plan):
  """Shares of a level, or their logarithms: [k, rows].

  Args:
    kernel: [k, rows]. potential: its logarithm, [k].
    above: of the parents, [a, rows], alike; of the coarsest level what each
      tube has to give, [1, rows].
    plan: see `loss_and_gradients`.
  """
  if not plan.log_space:
    return families.shares(kernel, jnp.exp(potential), above)
  inside = _inside(kernel + potential[:, None], len(above))
  return inside + families.under(above, len(inside))


def _round(tiles, kernels, nodes, potentials, plan, axes):
  """A function (potentials of the last of the levels in `nodes`, unscaled) ->
  these potentials after a round. Those of the levels above stay what they are.
  """
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  add = jnp.logaddexp if plan.log_space else jnp.add
  level, counts = len(nodes) - 1, [len(x) for x in nodes]
  weight = jnp.log(tiles[2]) if plan.log_space else tiles[2]
  upper = [[p[side] for p in potentials[:level]] for side in (0, 1)]

  def above(found, side, weight):
    share = weight[None]
    for kernel, potential in zip(found, upper[side], strict=True):
      share = _down(kernel, potential, share, plan)
    return share

  def made(side, x, weight):
    *higher, kernel = _kernels(x, nodes, plan)
    return kernel, above(higher, side, weight)

  if plan.keep:
    # What lies above is the same in all rounds. Of few nodes, tiles are joined.
    together = families.together(kernels[0][-1].shape, counts[-1])
    given = [
      families.joined(
        (
          kernels[side][level],
          jax.lax.map(
            lambda x, side=side: above(x[0], side, x[1]),
            (kernels[side][:level], weight),
          ),
        ),
        together,
      )
      for side in (0, 1)
    ]
  else:
    given = [(tiles[side], weight) for side in (0, 1)]

  def run(potential, unscaled):
    def body(masses, tile):
      new = []
      for side, found in enumerate(tile):
        kernel, share = found if plan.keep else made(side, *found)
        mass = _masses(kernel, potential[side], share, unscaled, plan)
        new.append(add(masses[side], mass))
      return tuple(new), None

    empty = (space.no_mass(counts[level]),) * 2
    masses, _ = jax.lax.scan(body, empty, given)
    return _moved(potential, masses, counts, level, plan, axes)

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


def _masses(kernel, potential, above, unscaled, plan):
  """What each node receives of a tile: [k].

  As a logarithm, or as a number over exp(potential); arguments as of `_down`.
  """
  if plan.log_space:
    shares = (
      kernel + above if unscaled else _down(kernel, potential, above, plan)
    )
    return jax.nn.logsumexp(shares, axis=1)
  if not unscaled:
    above = families.factors(kernel, jnp.exp(potential), above)
  return families.masses(kernel, above)


def _judge(tiles, kernels, nodes, potentials, plan):
  """Labels, loss and gradients, in one pass; sums over tubes, no means."""
  parts = levels.split(nodes, [p.shape[1] for p in potentials])
  by_side = [[p[side] for p in potentials] for side in (0, 1)]

  def body(carry, tile):
    total, by_nodes = carry
    *sides, weight, kept = tile
    unit = [units.normalize(x, plan) for x in sides]
    found = [
      _kernels(x, parts, plan) if e[0] is None else e
      for x, e in zip(sides, kept, strict=True)
    ]
    given = [_shares(x, p, plan) for x, p in zip(found, by_side, strict=True)]
    # Without the barrier XLA fuses the search into the errors' loops.
    labels = jax.lax.optimization_barrier([label for _, label in given])
    errors = []
    for mine, (shares, _), label in zip(
      found, given[::-1], labels[::-1], strict=True
    ):
      if plan.labels == "hard":
        value, error = _entropy_of_labels(mine, label, weight, plan)
      else:
        value, error = _entropy(mine, shares, weight, plan)
      total += value
      errors.append([x.astype(plan.dtype) for x in error])
    gradients = [
      x.pull(
        sum(
          precision.einsum("kr,kp->rp", *pair)
          for pair in zip(e, parts, strict=True)
        )
      )
      for x, e in zip(unit, errors, strict=True)
    ]
    by_nodes = [
      known + precision.einsum("kr,rp->kp", e, unit[1].unit)
      for known, e in zip(by_nodes, errors[1], strict=True)
    ]
    return (total, by_nodes), (labels, gradients)

  nothing = [jnp.zeros(x.shape, jnp.float32) for x in parts]
  empty = jnp.zeros((), jnp.float32), nothing
  (total, by_nodes), (labels, gradients) = jax.lax.scan(
    body, empty, (*tiles, kernels)
  )
  return total, labels, (*gradients, jnp.concatenate(by_nodes))


def _shares(kernels, potentials, plan):
  """Shares of all levels, [k_l, rows], and the leaf of the largest, [rows].

  XLA leaves out what nobody asks for: where labels are hard, the leaves'.
  """
  rows = kernels[0].shape[1]
  above = jnp.zeros((1, rows)) if plan.log_space else jnp.ones((1, rows))
  found = []
  for kernel, potential in zip(kernels, potentials, strict=True):
    found.append(_down(kernel, potential, above, plan))
    above = found[-1]
  if plan.log_space:
    return [jnp.exp(x) for x in found], spaces.argmax(found[-1].T)
  above = found[-2] if len(found) > 1 else jnp.ones((1, rows))
  return found, families.largest(kernels[-1], jnp.exp(potentials[-1]), above)


def _logits(kernel, plan):
  power = plan.epsilon / plan.temperature
  return (kernel if plan.log_space else jnp.log(kernel)) * power


def _entropy_of_labels(kernels, label, rows, plan):
  """As `_entropy`, of the leaf that each row's label is, and its ancestors."""
  total, errors, parents = 0.0, [], 1
  leaves = len(kernels[-1])
  for kernel, weight in zip(kernels, plan.weights, strict=True):
    node = label // (leaves // len(kernel))
    value, error = families.entropy_of_labels(
      kernel,
      node,
      parents,
      lambda x: _logits(x, plan),
      rows * (weight / plan.temperature),
    )
    total += weight * jnp.sum(rows * value)
    errors.append(error)
    parents = len(kernel)
  return total, errors


def _entropy(kernels, wanted, rows, plan):
  """Weighted cross-entropy of a tile, and its gradients by scores, a level.

  Args:
    kernels: [k_l, rows] a level. wanted: the other side's shares, alike.
    rows: weights of the rows, [rows].
    plan: see `loss_and_gradients`.
  """
  total, errors = 0.0, []
  above = jnp.ones((1, kernels[0].shape[1]), jnp.float32)
  for kernel, share, weight in zip(kernels, wanted, plan.weights, strict=True):
    log_p = _inside(_logits(kernel, plan), len(above))
    total -= weight * jnp.sum(rows * jnp.sum(share * log_p, axis=0))
    parents = families.under(above, len(share))
    error = parents * jnp.exp(log_p) - share
    errors.append(error * (rows * (weight / plan.temperature)))
    above = share
  return total, errors
