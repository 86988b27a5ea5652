"""What passes between a method and the trainer, as plain tuples.

Used under their names in `methods.method`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Tree = dict[str, Any]  # nested dicts of arrays
Metrics = dict[str, jax.Array]  # float32 scalars


class Length(NamedTuple):
  """How long a run is. steps: in all. epoch: steps of an epoch."""

  steps: int
  epoch: float


class Weights(NamedTuple):
  """What features are computed with.

  params: trained. slow: moving averages, by their names in `Method.follows`.
  frozen: never trained. Gradients are taken by `params` alone.
  """

  params: Tree
  slow: Tree
  frozen: Tree


class Follow(NamedTuple):
  """A moving average of a part of the parameters.

  After each step it is m old + (1 - m) new, m = momentum(step), the step
  counted from 0. It begins as a copy.

  of: the part's name in the parameters. momentum: int32 step -> float.
  """

  of: str
  momentum: Callable[[jax.Array], jax.Array]


class Where(NamedTuple):
  """What a loss over the global batch has to know of the devices.

  platform: cpu, gpu or tpu. num_devices: that the batch is split over.
  spread: `train.mesh.over_batch`; None where there is one device.
  """

  platform: str
  num_devices: int = 1
  spread: Callable | None = None


class Judged(NamedTuple):
  """What a loss returns: the scalar, other state for the next step, figures."""

  loss: jax.Array
  carry: Tree
  metrics: Metrics
