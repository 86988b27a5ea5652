"""Contender: sigma_jax's assignment loss and gradients; see `contest`."""

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax.bench import loss_inputs, output
from sigma_jax.losses import assignment, levels, plans, tiled, top_down


class _Case:
  def __init__(self, options: dict):
    self._arrays = [jnp.asarray(x) for x in loss_inputs.make(options)]
    self._run = jax.jit(_function(options)).lower(*self._arrays).compile()
    self._start = self._peak() or 0

  def run(self) -> None:
    self._last = jax.block_until_ready(self._run(*self._arrays))

  def results(self) -> dict[str, np.ndarray]:
    (loss, labels), gradients = self._last
    return loss_inputs.results(loss, labels, gradients)

  def peak_bytes(self) -> int | None:
    peak = self._peak()
    return None if peak is None else peak - self._start

  def facts(self) -> dict:
    device = jax.devices()[0]
    return {"device": device.device_kind, **output.versions("jax", "jaxlib")}

  @staticmethod
  def _peak() -> int | None:
    stats = jax.devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] if stats else None


def _function(options: dict):
  """(features, features, prototypes) -> ((loss, labels), gradients)."""
  solver = {key: options[key] for key in loss_inputs.SOLVER}

  def reference(video, target, prototypes):
    unit = assignment.normalize(prototypes)
    loss, sides = assignment.loss(video, target, unit, **solver)
    return loss, tuple(side.labels for side in sides)

  counts = (*options.get("levels", ()), options["prototypes"])
  even = (1.0 / len(counts),) * len(counts)
  tree = {"groups": counts[:-1], "weights": even} if len(counts) > 1 else {}
  top = options.get("hierarchy") == "top_down"
  plan = plans.make(
    num_tubes=options["tubes"],
    num_devices=1,
    num_prototypes=sum(counts) if top else options["prototypes"],
    platform=jax.default_backend(),
    kernels="auto" if options["mode"] == "reference" else options["mode"],
    dtype=options["dtype"],
    **solver,
    **tree,
  )

  def over_levels(video, target, prototypes):
    leaves = assignment.normalize(prototypes)
    # Any unit vectors do for the nodes above: sums of their leaves.
    nodes = [
      assignment.normalize(leaves.reshape(n, -1, leaves.shape[1]).sum(axis=1))
      for n in counts[:-1]
    ]
    nodes.append(leaves)
    if top:
      loss, labels = top_down.loss(video, target, nodes, plan)
    else:
      loss, labels = levels.of_leaves(video, target, nodes, even, plan)
    return loss, labels[-1]

  def fast(video, target, prototypes):
    return tiled.loss(video, target, assignment.normalize(prototypes), plan)

  if tree:
    return jax.value_and_grad(over_levels, argnums=(0, 1, 2), has_aux=True)
  loss = reference if options["mode"] == "reference" else fast
  return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)


prepare = _Case
