"""DINO's and SwAV's heads: from a view's embedding to what is compared."""

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax import precision
from sigma_jax.models import layers

_small = jax.nn.initializers.truncated_normal(0.02)
_EPSILON = 1e-6  # of LayerNorms
_SHORTEST = 1e-3  # shorter rows are divided by it and not by their length


def unit(x: jax.Array) -> jax.Array:
  """Rows of length 1; one near zero stays short, so gradients have bounds."""
  squares = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, _SHORTEST**2))


class Bottleneck(nnx.Module):
  """DINO's head up to its last layer: three maps, GELU between, unit length.

  https://github.com/facebookresearch/dino, DINOHead.
  """

  def __init__(self, dim: int, hidden: int, out: int, *, rngs: nnx.Rngs):
    """`dim`, `hidden`, `out`: width of inputs, between, and of outputs."""
    options = {"kernel_init": _small, "rngs": rngs}
    self.fc1 = layers.Linear(dim, hidden, **options)
    self.fc2 = layers.Linear(hidden, hidden, **options)
    self.fc3 = layers.Linear(hidden, out, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x: float32 [b, d] -> float32 [b, p], rows of length 1."""
    x = layers.gelu(self.fc1(x))
    x = layers.gelu(self.fc2(x))
    return unit(self.fc3(x))


class UnitRows(nnx.Module):
  """A map without bias whose rows count by their direction alone.

  DINO's last layer with its lengths fixed at 1 (`norm_last_layer`). Its
  directions start as PyTorch's linear maps do.
  """

  def __init__(self, dim: int, out: int, *, rngs: nnx.Rngs):
    """`dim`, `out`: width p of inputs, number k of outputs."""
    bound = dim**-0.5
    drawn = jax.random.uniform(
      rngs.params(), (out, dim), jnp.float32, -bound, bound
    )
    self.directions = nnx.Param(drawn)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x: float32 [b, p] -> float32 [b, k]."""
    return precision.einsum("bp,kp->bk", x, unit(self.directions[...]))


class Projection(nnx.Module):
  """SwAV's head, as its followers on video have it: three maps.

  It has LayerNorm where they have BatchNorm. So a clip's output depends on that
  clip alone, whatever the devices and the parts of a batch.
  """

  def __init__(self, dim: int, hidden: int, out: int, *, rngs: nnx.Rngs):
    """`dim`, `hidden`, `out`: width of inputs, between, and of outputs."""
    self.fc1 = layers.Linear(dim, hidden, rngs=rngs)
    self.norm1 = layers.layer_norm(hidden, _EPSILON, rngs=rngs)
    self.fc2 = layers.Linear(hidden, hidden, rngs=rngs)
    self.norm2 = layers.layer_norm(hidden, _EPSILON, rngs=rngs)
    self.fc3 = layers.Linear(hidden, out, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x: float32 [b, d] -> float32 [b, p], of any length."""
    x = jax.nn.relu(self.norm1(self.fc1(x)))
    x = jax.nn.relu(self.norm2(self.fc2(x)))
    return self.fc3(x)


def prototypes(num: int, dim: int, *, rngs: nnx.Rngs) -> nnx.Param:
  """Unit rows, float32 [k, p], that start in uniform directions of a cube."""
  bound = dim**-0.5
  drawn = jax.random.uniform(
    rngs.params(), (num, dim), jnp.float32, -bound, bound
  )
  return nnx.Param(unit(drawn))
