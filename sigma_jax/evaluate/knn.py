"""Weighted k nearest neighbours (https://arxiv.org/abs/1805.01978)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import precision

_CHUNK = 256  # test rows compared with the whole bank at once
# Cosines closer than this are the same: float32 sums in another order, or on
# another device, differ by less.
_SAME = 1e-5


def predict(
  bank: np.ndarray,
  labels: np.ndarray,
  test: np.ndarray,
  *,
  num_classes: int,
  k: int,
  temperature: float,
) -> np.ndarray:
  """Votes of the k most similar training clips, weighted by similarity.

  If several clips are as similar as the k-th, they share the places that are
  left in equal parts. So neither the bank's order nor rounding decides which of
  them vote, and any order of the bank gives the same numbers.

  Args:
    bank: float32 [n, d], features of the TRAINING split.
    labels: int [n], in [0, c).
    test: float32 [j, d].
    num_classes: c.
    k: neighbours; the whole bank where it is smaller.
    temperature: of the weights exp(cosine / temperature).

  Returns:
    float32 [j, c], rows summing to 1.
  """
  order = _canonical(bank, labels)
  units, queries = _unit(bank[order]), _unit(test)
  one_hot = jax.nn.one_hot(labels[order], num_classes)
  k = min(k, len(bank))
  chunks = [
    np.asarray(_vote(queries[i : i + _CHUNK], units, one_hot, temperature, k=k))
    for i in range(0, len(test), _CHUNK)
  ]
  return np.concatenate(chunks)


@functools.partial(jax.jit, static_argnames="k")
def _vote(queries, bank, one_hot, temperature, *, k):
  similarity = precision.einsum("qd,nd->qn", queries, bank)
  # Without the barrier XLA on CPU sorts the whole row for these few of it.
  best = jax.lax.optimization_barrier(jax.lax.top_k(similarity, k)[0])
  last = best[:, -1:]
  ahead, near = similarity > last + _SAME, similarity >= last - _SAME
  tied = near & ~ahead
  places = k - jnp.sum(ahead, axis=1, keepdims=True)
  share = places / jnp.sum(tied, axis=1, keepdims=True)
  share = jnp.where(ahead, 1.0, jnp.where(tied, share, 0.0))
  weights = share * jnp.exp((similarity - best[:, :1]) / temperature)
  votes = precision.einsum("qn,nc->qc", weights, one_hot)
  return votes / jnp.sum(weights, axis=1, keepdims=True)


def _canonical(bank: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """An order of the rows that depends on what they are, not where: int [n]."""
  table = np.empty((len(bank), bank.shape[1] + 1), np.float32)
  table[:, :-1], table[:, -1] = bank, labels
  whole = np.dtype((np.void, table.itemsize * table.shape[1]))
  return np.argsort(table.view(whole).ravel(), kind="stable")


def _unit(x: np.ndarray) -> jax.Array:
  x = jnp.asarray(x, jnp.float32)
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=1, keepdims=True) + 1e-12)
