"""Entropy-regularised optimal transport of tubes onto prototypes.

Scores s [b, m, k] of all tubes of the global batch against k prototypes define

  min_Q <Q, -s> - epsilon H(Q)   with Q 1 = 1/B and Q^T 1 = 1/k,   B = b m,

which alternating scalings solve (Cuturi, https://arxiv.org/abs/1306.0895; SwAV,
https://arxiv.org/abs/2006.09882). The plan is exp(s / epsilon), scaled by one
number for each tube and one for each prototype. Rows are normalised last, so a
tube's assignment is softmax_k(s / epsilon + potential). Only the k-vector of
potentials has to be found, and only sums of that size are sent between devices.
"""

import jax
import jax.numpy as jnp


def potential(scores: jax.Array, epsilon: float, rounds: int) -> jax.Array:
  """Dual potential of the prototypes after `rounds` Sinkhorn rounds.

  It works with logarithms: no score is too large and no epsilon too small for
  float32. No gradient flows through it. The order of tubes does not matter, nor
  does a constant that is added to all scores. A constant added to the scores of
  a single tube changes nothing once the rounds have converged.

  Args:
    scores: float32 [b, m, k] or [n, k]; the last axis indexes prototypes and
      the rest tubes. Under jit the leading axis may be sharded: the sums over
      tubes are then global.
    epsilon: entropy regularisation, > 0.
    rounds: rounds of one prototype and one tube scaling each.

  Returns:
    float32 [k]; add it to scores / epsilon for the plan's logits.
  """
  scores = jax.lax.stop_gradient(scores.astype(jnp.float32)) / epsilon
  tubes = tuple(range(scores.ndim - 1))
  num_tubes = scores.size // scores.shape[-1]
  log_prior = jnp.log(num_tubes / scores.shape[-1])

  # The published order: prototypes are scaled first, then tubes. After the
  # tubes' scaling each row of the plan is a softmax, so a round is: log of the
  # mass that each prototype receives, then subtract it.
  def scale(_, log_u):
    logits = scores + log_u
    log_rows = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    log_mass = jax.nn.logsumexp(logits - log_rows, axis=tubes)
    return log_u - log_mass + log_prior

  # In the first round no row has been scaled yet.
  first = log_prior - jax.nn.logsumexp(scores, axis=tubes)
  return jax.lax.fori_loop(1, rounds, scale, first)


def assign(scores: jax.Array, log_u: jax.Array, epsilon: float) -> jax.Array:
  """Soft assignments: softmax over prototypes, float32, rows summing to 1.

  Args:
    scores: float32 [..., k].
    log_u: float32 [k] from `potential`.
    epsilon: as given to `potential`.
  """
  logits = scores.astype(jnp.float32) / epsilon + log_u
  return jax.nn.softmax(logits, axis=-1)


def hard_labels(
  scores: jax.Array, log_u: jax.Array, epsilon: float
) -> jax.Array:
  """The prototype of largest assignment, int32 [...]."""
  logits = scores.astype(jnp.float32) / epsilon + log_u
  return jnp.argmax(logits, axis=-1).astype(jnp.int32)
