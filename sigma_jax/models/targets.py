"""Projection networks: what the video model has to predict per masked tube.

A target maps a batch's uint8 tubes to one vector per masked tube. Each has
`dim` (p) and `__call__(tubes, masked) -> float32 [b, m, p]`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax import settings as settings_lib
from sigma_jax.models import layers, vit


def normalize_tubes(tubes: jax.Array) -> jax.Array:
  """Standardises every tube per channel, as VideoMAE's pixel target.

  Args:
    tubes: uint8 [..., values], channel fastest.

  Returns:
    float32 of the same shape: pixels in [0, 1] minus the tube's mean, over
    its unbiased standard deviation + 1e-6. A constant tube gives zeros.
  """
  x = tubes.astype(jnp.float32) / 255.0
  x = x.reshape(*tubes.shape[:-1], tubes.shape[-1] // 3, 3)
  mean = jnp.mean(x, axis=-2, keepdims=True)
  std = jnp.std(x, axis=-2, keepdims=True, ddof=1)
  return ((x - mean) / (std + 1e-6)).reshape(tubes.shape)


class PixelTarget(nnx.Module):
  """VideoMAE's target: the normalised pixels themselves."""

  def __init__(self, tube_values: int):
    self.dim = tube_values

  def __call__(self, tubes: jax.Array, masked: jax.Array) -> jax.Array:
    """uint8 [b, n, values], int32 [b, m] -> float32 [b, m, values]."""
    return normalize_tubes(vit.gather_tokens(tubes, masked))


class MlpTarget(nnx.Module):
  """SIGMA-MLP: a small network on normalised pixels, trained jointly."""

  def __init__(
    self,
    tube_values: int,
    hidden: tuple[int, ...],
    dim: int,
    *,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.dim = dim
    sizes = (tube_values, *hidden, dim)
    self.layers = nnx.List(
      [
        layers.Linear(sizes[i], sizes[i + 1], dtype=dtype, rngs=rngs)
        for i in range(len(sizes) - 1)
      ]
    )

  def __call__(self, tubes: jax.Array, masked: jax.Array) -> jax.Array:
    """uint8 [b, n, values], int32 [b, m] -> float32 [b, m, p]."""
    x = normalize_tubes(vit.gather_tokens(tubes, masked))
    for i, layer in enumerate(self.layers):
      x = layer(jax.nn.gelu(x, approximate=False) if i else x)
    return x.astype(jnp.float32)


def build(settings: settings_lib.Settings, *, rngs: nnx.Rngs) -> nnx.Module:
  """The projection network that `settings.target` names."""
  target, model = settings.target, settings.model
  values = model.tubelet * model.patch**2 * 3
  if target.kind == "pixel":
    return PixelTarget(values)
  return MlpTarget(
    values,
    target.hidden,
    target.dim,
    dtype=jnp.dtype(model.dtype),
    rngs=rngs,
  )
