"""The masked family's assignment loss: one level of prototypes, or a tree."""

import math

import jax

from sigma_jax import settings as settings_lib
from sigma_jax.losses import health, levels, plans, tiled, top_down
from sigma_jax.methods import method
from sigma_jax.models import sigma


def loss(
  settings: settings_lib.Settings,
  heads: method.Tree,
  features: sigma.Features,
  where: method.Where,
) -> tuple[jax.Array, list[levels.Labels]]:
  """The assignment loss, and the labels of every level, leaves last."""
  options, shape = settings.loss, features.video.shape
  plan = plan_of(settings, shape, where)
  if not options.levels:
    total, labels = tiled.loss(
      *features, heads["prototypes"], plan, where.spread
    )
    return total, [labels]
  nodes = levels.split(heads["coarse_prototypes"], options.levels)
  nodes.append(heads["prototypes"])
  weights = options.per_level("level_weights")
  if options.hierarchy == "independent":
    made = [plan_of(settings, shape, where, n) for n in options.counts]
    return levels.independent(*features, nodes, weights, made, where.spread)
  if options.hierarchy == "top_down":
    return top_down.loss(*features, nodes, plan, where.spread)
  shares = options.per_level("level_scores")
  return levels.of_leaves(*features, nodes, shares, plan, where.spread)


def plan_of(
  settings: settings_lib.Settings,
  shape: tuple[int, ...],
  where: method.Where,
  count: int = 0,
) -> plans.Plan:
  """How the run computes its assignment loss on features of [b, m, p].

  Args:
    settings: the run.
    shape: b, m, p, of the global batch.
    where: the devices.
    count: prototypes of one level by itself; 0: all leaves, and their tree.
  """
  options = settings.loss
  tree = {}
  if not count and options.levels and options.hierarchy != "independent":
    weights = options.per_level("level_weights")
    tree = {"groups": options.levels, "weights": weights}
    if options.hierarchy == "top_down":
      count = sum(options.counts)
  return plans.make(
    num_tubes=shape[0] * shape[1],
    num_devices=where.num_devices,
    num_prototypes=count or options.num_prototypes,
    platform=where.platform,
    epsilon=options.epsilon,
    rounds=options.rounds,
    temperature=options.temperature,
    labels=options.labels,
    kernels=options.kernels,
    dtype=settings.model.dtype,
    **tree,
  )


def health_of_levels(
  counts: tuple[int, ...], labels: list[levels.Labels]
) -> method.Metrics:
  """Figures of the levels above the leaves, counted from 1."""
  found = {}
  for level, (count, (by_video, by_target)) in enumerate(
    zip(counts, labels[:-1], strict=True), 1
  ):
    of_level = health.prototype_usage(by_target, count)
    of_level["agreement"] = health.agreement(by_video, by_target)
    found |= {f"{name}_{level}": x for name, x in of_level.items()}
  return found


def charts_of_levels(counts: tuple[int, ...]) -> tuple[method.Chart, ...]:
  """Charts of what `health_of_levels` gives."""
  return tuple(
    method.Chart(
      f"Level {level}, {count:,} nodes",
      "% of masked tubes, % of nodes",
      {f"agreement_{level}": "agreement", f"used_{level}": "in use"},
      100,
      ("chance", 100 / count),
    )
    for level, count in enumerate(counts, 1)
  )


def uniform_guess(options: settings_lib.Loss) -> float:
  """The loss, both directions, of predicting all nodes alike; nats."""
  sizes = [*options.counts]
  if options.hierarchy == "top_down":
    above = (1, *options.levels)
    sizes = [n // a for n, a in zip(sizes, above, strict=True)]
  weights = options.per_level("level_weights")
  return sum(2 * w * math.log(n) for w, n in zip(weights, sizes, strict=True))
