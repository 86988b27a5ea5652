"""Principal components of features, on whatever device JAX runs."""

import jax
import jax.numpy as jnp

from sigma_jax import precision

# Full float32 on every device: TPUs and GPUs would round the factors.


def standardize(x: jax.Array) -> jax.Array:
  """float32 [n, d] -> the same with mean 0 and deviation 1 a channel.

  The deviation is that of the n rows (not the unbiased one). Channels without
  any become 0.
  """
  x = x - jnp.mean(x, axis=0)
  std = jnp.sqrt(jnp.mean(jnp.square(x), axis=0))
  return jnp.where(std > 0, x / jnp.where(std > 0, std, 1.0), 0.0)


def project(x: jax.Array, components: int) -> jax.Array:
  """Coordinates along the directions of largest variance.

  By the eigenvectors of the d x d covariance. Their signs are arbitrary.

  Args:
    x: float32 [n, d].
    components: how many; all d where that is more.

  Returns:
    float32 [n, min(components, d)], centred, of falling variance.
  """
  x = x - jnp.mean(x, axis=0)
  covariance = precision.einsum("nd,ne->de", x, x) / len(x)
  vectors = jnp.linalg.eigh(covariance)[1]  # of rising eigenvalues
  top = vectors[:, ::-1][:, :components]
  return precision.einsum("nd,dc->nc", x, top)
