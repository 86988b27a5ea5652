"""Prototypes in a tree: SIGMA's loss on several levels of it.

Level l has k_l nodes, all with the same number of children. The leaves are the
last level. The descendants of a node are neighbours: node j of level l is above
the k / k_l leaves that begin with leaf j k / k_l.

"leaves" has one transport, over the leaves. The score of a leaf is the mean,
with weights a, of its own and its ancestors' scores. That is the score of one
vector, the same mean of their prototypes. A node's share of a tube is the sum
of its leaves' shares. So balanced leaves make every level balanced. The loss is
the mean, with weights w, of the cross-entropies of all levels.

"top_down", assignment from the top, is in `losses.top_down`.

"independent" is the control: every level has a transport and a loss of its own.
Only the features connect them, as the heads of SeLa
(https://arxiv.org/abs/1911.05371).
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from sigma_jax.losses import assignment, plans, tiled

# Hard labels of one level, int32 [b, m]: of the video and of the target side.
Labels = tuple[jax.Array, jax.Array]


def split(nodes: jax.Array, counts: Sequence[int]) -> list[jax.Array]:
  """[k_1 + k_2 + .., p], coarsest level first -> a [k_l, p] a level."""
  places = [0, *itertools.accumulate(counts)]
  return [nodes[a:b] for a, b in itertools.pairwise(places)]


def composed(nodes: Sequence[jax.Array], shares: Sequence[float]) -> jax.Array:
  """The vectors whose cosines are the leaves' scores.

  Args:
    nodes: float32 [k_l, p], unit rows, of every level, leaves last.
    shares: a_l, of sum 1.

  Returns:
    float32 [k, p], no longer than 1.
  """
  leaves = nodes[-1].shape[0]
  total = jnp.float32(shares[-1]) * nodes[-1]
  for level, share in zip(nodes[:-1], shares[:-1], strict=True):
    each = jnp.repeat(level, leaves // level.shape[0], axis=0)
    total += jnp.float32(share) * each
  return total


def vectors(params: dict, options) -> jax.Array:
  """What tubes are scored against, where one level is looked at: the leaves.

  Args:
    params: with prototypes, and with coarse_prototypes where there is a tree.
    options: `settings.Loss`.

  Returns:
    float32 [k, p]: unit rows, or those of `composed`.
  """
  leaves = assignment.normalize(params["prototypes"])
  if not options.levels or options.hierarchy != "leaves":
    return leaves
  coarse = assignment.normalize(params["coarse_prototypes"])
  nodes = [*split(coarse, options.levels), leaves]
  return composed(nodes, options.per_level("level_scores"))


def of_leaves(
  video: jax.Array,
  target: jax.Array,
  nodes: Sequence[jax.Array],
  shares: Sequence[float],
  plan: plans.Plan,
  spread: Callable | None = None,
) -> tuple[jax.Array, list[Labels]]:
  """One transport over the leaves.

  Args:
    video, target: float32 [b, m, p], not yet normalised.
    nodes, shares: see `composed`.
    plan: of the leaves; its groups are the counts of the levels above.
    spread: see `tiled.loss`.

  Returns:
    float32 scalar, and the labels of every level, leaves last: the leaf of the
    largest share, and its ancestors.
  """
  total, labels = tiled.loss(
    video, target, composed(nodes, shares), plan, spread
  )
  leaves = nodes[-1].shape[0]
  found = [
    tuple(side // (leaves // level.shape[0]) for side in labels)
    for level in nodes[:-1]
  ]
  return total, [*found, labels]


def independent(
  video: jax.Array,
  target: jax.Array,
  nodes: Sequence[jax.Array],
  weights: Sequence[float],
  made: Sequence[plans.Plan],
  spread: Callable | None = None,
) -> tuple[jax.Array, list[Labels]]:
  """A loss of its own a level; arguments and results as of `of_leaves`.

  Args:
    weights: w_l, of sum 1. made: a plan a level.
  """
  total, labels = jnp.zeros((), jnp.float32), []
  for level, weight, plan in zip(nodes, weights, made, strict=True):
    part, of_level = tiled.loss(video, target, level, plan, spread)
    total += weight * part
    labels.append(of_level)
  return total, labels
