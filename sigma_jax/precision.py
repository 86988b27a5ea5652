"""What the dtype of a matrix product means: decided here, for all products.

Float32 means float32. Left to itself, JAX multiplies float32 in TF32 on a GPU
and in bfloat16 on a TPU, with 10 and 7 bits of 23: then `model.dtype='float32'`
would be another model on every device, and what looks exact is not. In full,
such a product takes six passes on a TPU, and no tensor cores on a GPU. What is
to be fast has bfloat16 operands, as all full-size configs have; those products
are one pass, with float32 sums.
"""

import contextlib

import jax
import jax.numpy as jnp


def of(dtype: jax.typing.DTypeLike) -> jax.lax.Precision | None:
  """The `precision` of a product whose operands have this dtype."""
  exact = jnp.dtype(dtype) == jnp.float32
  return jax.lax.Precision.HIGHEST if exact else None


def einsum(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
  """`jnp.einsum` of two arrays of one dtype; float32, and so its sums."""
  return jnp.einsum(
    spec, a, b, precision=of(a.dtype), preferred_element_type=jnp.float32
  )


def default(dtype: jax.typing.DTypeLike) -> contextlib.AbstractContextManager:
  """Inside, products that JAX's own functions trace have `of(dtype)`."""
  if of(dtype) is None:
    return contextlib.nullcontext()
  return jax.default_matmul_precision("highest")
