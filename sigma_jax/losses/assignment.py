"""SIGMA's symmetric prediction loss over prototype assignments.

The tubes of each side are assigned to prototypes by balanced transport. Each
side then predicts the other's assignment from its own scores (SIGMA,
https://arxiv.org/abs/2407.15447, equation 7).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import precision
from sigma_jax.losses import sinkhorn


class Assignments(NamedTuple):
  """One side's view of the batch's tubes.

  scores: float32 [b, m, k], cosine of tube and prototype.
  log_u: float32 [k], the transport problem's potential.
  labels: int32 [b, m], the hard assignment.
  """

  scores: jax.Array
  log_u: jax.Array
  labels: jax.Array


# Shorter vectors are divided by it and not by their length. It is far below the
# length of any feature (fresh targets of ViT-B are .5 long) and bounds what one
# tube's gradient is multiplied by.
SHORTEST = 1e-3


def normalize(x: jax.Array) -> jax.Array:
  """L2-normalises the last axis. A vector near zero stays short.

  (The gradient of a norm is NaN at zero and grows without bound near it.)
  """
  x = x.astype(jnp.float32)
  squares = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, SHORTEST**2))


def solve(
  features: jax.Array, prototypes: jax.Array, epsilon: float, rounds: int
) -> Assignments:
  """Scores of normalised features and their transport solution.

  Args:
    features: float [b, m, p], not yet normalised.
    prototypes: float32 [k, p], already normalised.
    epsilon, rounds: see `sinkhorn.potential`.
  """
  scores = precision.einsum("bmp,kp->bmk", normalize(features), prototypes)
  log_u = sinkhorn.potential(scores, epsilon, rounds)
  fixed = jax.lax.stop_gradient(scores)
  return Assignments(scores, log_u, sinkhorn.hard_labels(fixed, log_u, epsilon))


def cross_entropy(
  scores: jax.Array,
  target: Assignments,
  *,
  temperature: float,
  epsilon: float,
  labels: str,
) -> jax.Array:
  """Mean cross-entropy of softmax(scores / temperature) under `target`.

  Args:
    scores: float32 [b, m, k] of the predicting side.
    target: the other side's assignments; no gradient flows into it.
    temperature: of the prediction.
    epsilon: of the target's plan.
    labels: "hard" (argmax of the plan) or "soft" (the plan itself).

  Returns:
    float32 scalar, the mean over all tubes of the global batch.
  """
  logits = scores / temperature
  log_norm = jax.nn.logsumexp(logits, axis=-1)
  if labels == "hard":
    picked = jnp.take_along_axis(logits, target.labels[..., None], axis=-1)
    return jnp.mean(log_norm - picked[..., 0])
  plan = sinkhorn.assign(target.scores, target.log_u, epsilon)
  plan = jax.lax.stop_gradient(plan)
  return jnp.mean(log_norm - jnp.sum(plan * logits, axis=-1))


def loss(
  video: jax.Array,
  target: jax.Array,
  prototypes: jax.Array,
  *,
  epsilon: float,
  rounds: int,
  temperature: float,
  labels: str,
) -> tuple[jax.Array, tuple[Assignments, Assignments]]:
  """Symmetric loss of one global batch.

  Prototypes learn from the target's scores alone. In the video model's scores
  their gradient is stopped, as in the published code.

  Args:
    video, target: float [b, m, p], both sides' features of the masked tubes.
    prototypes: float32 [k, p] with unit rows. The training step projects the
      stored ones onto the sphere *before* it differentiates, as the published
      code does: the gradient is that of the unit rows themselves, not of a
      normalisation inside the loss.
    epsilon, rounds: of the transport problem.
    temperature: of the predicted distributions.
    labels: "hard" or "soft".

  Returns:
    float32 scalar, and (video side, target side) assignments.
  """
  fixed = jax.lax.stop_gradient(prototypes)
  by_video = solve(video, fixed, epsilon, rounds)
  by_target = solve(target, prototypes, epsilon, rounds)
  options = {"temperature": temperature, "epsilon": epsilon, "labels": labels}
  total = cross_entropy(by_target.scores, by_video, **options)
  total += cross_entropy(by_video.scores, by_target, **options)
  return total, (by_video, by_target)
