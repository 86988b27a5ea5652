"""Weighted k nearest neighbours (https://arxiv.org/abs/1805.01978)."""

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 512  # test rows compared with the whole bank at once


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

  Args:
    bank: float32 [n, d], features of the TRAINING split.
    labels: int [n].
    test: float32 [j, d].
    num_classes: c.
    k: neighbours; the whole bank where it is smaller.
    temperature: of the weights exp(cosine / temperature).

  Returns:
    float32 [j, c], rows summing to 1.
  """
  k = min(k, len(bank))
  bank, one_hot = _unit(bank), jax.nn.one_hot(labels, num_classes)

  @jax.jit
  def vote(queries):
    similarity, rows = jax.lax.top_k(queries @ bank.T, k)
    weights = jax.nn.softmax(similarity / temperature, axis=-1)
    return jnp.einsum("jk,jkc->jc", weights, one_hot[rows])

  queries = _unit(test)
  chunks = [
    np.asarray(vote(queries[i : i + _CHUNK]))
    for i in range(0, len(test), _CHUNK)
  ]
  return np.concatenate(chunks)


def _unit(x: np.ndarray) -> jax.Array:
  x = jnp.asarray(x, jnp.float32)
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=1, keepdims=True) + 1e-12)
