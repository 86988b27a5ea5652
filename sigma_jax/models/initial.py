"""What fresh weights are drawn from, where published codes differ.

SIGMA (https://github.com/QUVA-Lab/SIGMA, as VideoMAE before it) sets the linear
maps of the encoder's and the decoder's blocks, and the decoder's head, to
xavier-uniform weights and zero biases. The function that does so never reaches
the tube embedding, the map from encoder to decoder width and the layers of the
`mlp` target: they keep PyTorch's default, uniform within 1 / sqrt(inputs) for
weights and biases alike. It matters: the biases make all tubes' targets alike
at first, and a tube of one colour, whose pixels are all zero after
normalisation, still has an embedding.

V-JEPA (https://github.com/facebookresearch/jepa) draws every linear map from a
normal of deviation 0.02, cut at +-2, which it never reaches, with zero biases.
Its constructors divide the maps that end a block's branches by sqrt(2 i), but
its training then draws them anew; V-JEPA 2's keeps the division.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_xavier = jax.nn.initializers.xavier_uniform()
_normal = jax.nn.initializers.normal(0.02)


def torch_default(inputs: int, scale: float = 1.0) -> dict:
  """PyTorch's own, for `layers.Linear`: uniform within scale / sqrt(inputs).

  Args:
    inputs: values that the map reads.
    scale: of weights and biases.
  """
  # A variance of 1 / (3 inputs).
  draw = jax.nn.initializers.variance_scaling(scale**2 / 3, "fan_in", "uniform")

  def bias(key, shape, dtype):
    bound = scale * inputs**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return {"kernel_init": draw, "bias_init": bias}


def in_blocks(name: str) -> Callable:
  """Initialiser of the weights of a block's linear maps, and of a last one.

  Args:
    name: of `settings.Model.init`.
  """
  return _normal if name in ("vjepa", "vjepa2") else _xavier


def outside_blocks(name: str, inputs: int) -> dict:
  """Initialisers of a linear map that is in no block, for `layers.Linear`.

  Args:
    name: of `settings.Model.init`.
    inputs: values that the map reads.
  """
  if name == "published":
    return torch_default(inputs)
  return {"kernel_init": in_blocks(name)}


def mask_token(name: str, key: jax.Array, dim: int) -> jax.Array:
  """The decoder's mask token, float32 [dim].

  Published: a normal of deviation 0.02 before it is cut at one deviation either
  side. xavier: cut at two, and of deviation 0.02 afterwards. V-JEPA's: zeros.
  """
  if name in ("vjepa", "vjepa2"):
    return jnp.zeros((dim,), jnp.float32)
  if name == "xavier":
    draw = jax.nn.initializers.truncated_normal(0.02)
    return draw(key, (dim,), jnp.float32)
  return 0.02 * jax.random.truncated_normal(key, -1.0, 1.0, (dim,), jnp.float32)
