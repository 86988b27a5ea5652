"""SwAV's loss: each view predicts the balanced assignment of the others.

https://arxiv.org/abs/2006.09882, equation 2; main_swav.py of its code. All sums
are over the global batch, wherever its clips lie.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import precision
from sigma_jax.losses import assignment, sinkhorn


class Swapped(NamedTuple):
  """The loss of a batch.

  loss: float32 scalar.
  codes: float32 [g, b, k], of the views that have codes, without gradient.
  queue: float32 [g, q, p] for the next step, or None.
  """

  loss: jax.Array
  codes: jax.Array
  queue: jax.Array | None


def loss(
  embeddings: list[jax.Array],
  prototypes: jax.Array,
  queue: jax.Array | None = None,
  *,
  assigned: int = 2,
  epsilon: float = 0.05,
  rounds: int = 3,
  temperature: float = 0.1,
) -> Swapped:
  """Mean cross-entropy over the views with codes and all views that predict.

  Prototypes learn from the scores of every view; codes have no gradient.

  Args:
    embeddings: float [b, p] of each view, not yet normalised.
    prototypes: float32 [k, p], unit rows; the gradient is by these.
    queue: float32 [g, q, p], unit embeddings of earlier clips, newest first,
      zeros where there were none. Codes are solved with it once it is full.
    assigned: g, how many views have codes, the first ones.
    epsilon, rounds: of the codes' transport problem.
    temperature: of the predictions.

  Raises:
    ValueError: fewer than two views, or more with codes than there are.
  """
  if not 1 <= assigned <= len(embeddings) or len(embeddings) < 2:
    raise ValueError(
      f"{assigned} of {len(embeddings)} views cannot have codes: a view is "
      "predicted by the others"
    )
  unit = [assignment.normalize(each) for each in embeddings]
  scores = [precision.einsum("bp,kp->bk", each, prototypes) for each in unit]
  fixed = jax.lax.stop_gradient(prototypes)
  total, found = 0.0, []
  for view in range(assigned):
    earlier = None if queue is None else queue[view]
    found.append(codes(scores[view], fixed, earlier, epsilon, rounds))
    errors = [
      _cross_entropy(found[-1], other / temperature)
      for place, other in enumerate(scores)
      if place != view
    ]
    total += sum(errors) / len(errors) / assigned
  if queue is not None:
    queue = pushed(queue, jnp.stack(unit[:assigned]))
  return Swapped(total, jnp.stack(found), queue)


def codes(
  scores: jax.Array,
  prototypes: jax.Array,
  earlier: jax.Array | None,
  epsilon: float,
  rounds: int,
) -> jax.Array:
  """Balanced soft assignments of one view, [b, k], rows summing to 1.

  Args:
    scores: float32 [b, k] of the batch.
    prototypes: float32 [k, p], unit rows.
    earlier: float32 [q, p], the view's queue, or None.
    epsilon, rounds: see `sinkhorn.potential`.
  """
  scores = jax.lax.stop_gradient(scores)

  def alone(scores, earlier):
    del earlier
    return sinkhorn.potential(scores, epsilon, rounds)

  def longer(scores, earlier):
    # Of today's prototypes, as published: only the embeddings are old.
    old = precision.einsum("qp,kp->qk", earlier, prototypes)
    return sinkhorn.potential(jnp.concatenate([old, scores]), epsilon, rounds)

  if earlier is None:
    log_u = alone(scores, earlier)
  else:
    log_u = jax.lax.cond(full(earlier), longer, alone, scores, earlier)
  return sinkhorn.assign(scores, log_u, epsilon)


def full(earlier: jax.Array) -> jax.Array:
  """Whether a queue [q, p] is full: its oldest row is no longer zeros."""
  return jnp.any(earlier[-1] != 0)


def pushed(queue: jax.Array, new: jax.Array) -> jax.Array:
  """The queue [g, q, p] with new embeddings [g, b, p] in front, detached."""
  new = jax.lax.stop_gradient(new)
  return jnp.concatenate([new, queue], axis=1)[:, : queue.shape[1]]


def _cross_entropy(target: jax.Array, logits: jax.Array) -> jax.Array:
  picked = jnp.sum(target * logits, axis=-1)
  return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)
