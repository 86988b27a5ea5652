"""Signs of a collapsing clustering, cheap enough for every step.

The loss of a collapsed run falls too. A collapse shows in other figures: few
prototypes are used, assignments concentrate, or features stop varying.
"""

import jax
import jax.numpy as jnp


def feature_std(features: jax.Array) -> jax.Array:
  """Standard deviation over tubes, averaged over dimensions.

  Args:
    features: float [b, m, p], as the network put them out.

  Returns:
    float32 scalar; 0 when every tube has the same embedding.
  """
  x = features.astype(jnp.float32)
  return jnp.mean(jnp.std(x, axis=(0, 1)))


def clip_std(features: jax.Array) -> jax.Array:
  """Deviation over clips of their mean token, averaged over dimensions.

  Tokens that tell nothing but their own place vary inside a clip, but not from
  clip to clip. This function shows such a collapse; `feature_std` does not.

  Args:
    features: float [b, n, d].

  Returns:
    float32 scalar.
  """
  x = jnp.mean(features.astype(jnp.float32), axis=1)
  return jnp.mean(jnp.std(x, axis=0))


def prototype_usage(labels: jax.Array, num_prototypes: int) -> dict:
  """How evenly hard labels spread over the prototypes.

  The column sums of the transport plan are always even, collapsed or not. The
  argmax that training uses is not always even, so that is what is measured.

  Args:
    labels: int32 [b, m].
    num_prototypes: k.

  Returns:
    perplexity: exp of the entropy of the mean assignment, 1 to k.
    used: share of the prototypes with at least one tube, 0 to 1.
  """
  counts = jnp.zeros((num_prototypes,), jnp.float32)
  counts = counts.at[labels.reshape(-1)].add(1.0)
  mean = counts / labels.size
  entropy = -jnp.sum(mean * jnp.log(jnp.where(mean > 0, mean, 1.0)))
  return {"perplexity": jnp.exp(entropy), "used": jnp.mean(counts > 0)}


def agreement(a: jax.Array, b: jax.Array) -> jax.Array:
  """Share of tubes that both sides give the same hard label; int32 [b, m]."""
  return jnp.mean((a == b).astype(jnp.float32))
