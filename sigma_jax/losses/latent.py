"""V-JEPA's loss: predicted features beside those of a slow encoder.

https://arxiv.org/abs/2404.08471, equation 1; app/vjepa/train.py of its code.
"""

import jax
import jax.numpy as jnp


def normalize(features: jax.Array, epsilon: float = 1e-5) -> jax.Array:
  """LayerNorm without weights over the last axis, in float32."""
  x = features.astype(jnp.float32)
  x = x - jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(variance + epsilon)


def distance(
  predicted: jax.Array, target: jax.Array, exponent: float = 1.0
) -> jax.Array:
  """Mean of |predicted - target|^e / e over clips, tokens and features.

  Args:
    predicted, target: float32 [b, g, d].
    exponent: e; 1 is the published one.
  """
  error = jnp.abs(predicted - target)
  if exponent != 1:
    error = error**exponent
  return jnp.mean(error) / exponent


def spread(predicted: jax.Array) -> jax.Array:
  """Deviation of every feature over a clip's tokens, float32 [b, d].

  sqrt(variance + 1e-4), the variance unbiased; predicted: float32 [b, g, d].
  """
  return jnp.sqrt(jnp.var(predicted, axis=1, ddof=1) + 1e-4)
