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
    upper = [side[: level + 1] for side in kernels]
    run = _round(tiles, upper, parts[: level + 1], plan, axes)
    first = 0
    if level == 0:  # as the flat loss: before any tube is scaled
      potentials, first = run(potentials, True), 1
    potentials = jax.lax.fori_loop(
      first, plan.rounds, lambda _, x, run=run: run(x, False), potentials
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


def _log_shares(logits, potentials, last: int):
  """Logarithms of the shares of the levels up to `last`."""
  found = []
  for level in range(last + 1):
    scaled = logits[level] + potentials[level][:, None]
    above = found[-1] if found else None
    inside = _inside(scaled, 0 if above is None else len(above))
    if above is not None:
      inside += families.under(above, len(inside))
    found.append(inside)
  return found


def _round(tiles, kernels, nodes, plan, axes):
  """A function (potentials, unscaled) -> potentials: a round of the last level
  of those in `kernels` and `nodes`."""
  space = spaces.Logarithms if plan.log_space else spaces.Numbers
  masses_of = _log_masses if plan.log_space else _masses
  add = jnp.logaddexp if plan.log_space else jnp.add
  level, counts = len(nodes) - 1, [len(x) for x in nodes]

  def run(potentials, unscaled):
    def body(masses, tile):
      *sides, weight, kept = tile
      new = []
      for side, (x, found) in enumerate(zip(sides, kept, strict=True)):
        if found[0] is None:
          found = _kernels(x, nodes, plan)
        mine = [p[side] for p in potentials[: level + 1]]
        mass = masses_of(found, mine, weight, unscaled)
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
  return jax.nn.logsumexp(shares + jnp.log(weight), axis=1)


def _masses(kernels, potentials, weight, unscaled):
  """The same as a number, over exp(potential)."""
  if unscaled:
    return families.masses(kernels[0], weight[None])
  above = weight[None]
  *upper, last = zip(kernels, map(jnp.exp, potentials), strict=True)
  for kernel, u in upper:
    above = families.shares(kernel, u, above)
  return families.masses(last[0], families.factors(*last, above))


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
  if plan.log_space:
    found = _log_shares(kernels, potentials, len(kernels) - 1)
    label = spaces.argmax(found[-1].T)
    return [jnp.exp(x) for x in found], label
  above, found = jnp.ones((1, kernels[0].shape[1]), jnp.float32), []
  *upper, (leaves, u) = zip(kernels, map(jnp.exp, potentials), strict=True)
  for kernel, potential in upper:
    above = families.shares(kernel, potential, above)
    found.append(above)
  label = families.largest(leaves, u, above)
  return [*found, families.shares(leaves, u, above)], label


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
