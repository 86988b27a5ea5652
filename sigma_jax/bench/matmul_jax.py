"""Contender: one large square matrix product, the peak that can be had."""

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import precision


class _Case:
  def __init__(self, options: dict):
    """options: "size" n, "dtype" of the operands; sums are float32."""
    n = options["size"]
    key = jax.random.key(0)
    self._a = jax.random.normal(key, (n, n), jnp.float32).astype(
      options["dtype"]
    )

    def product(a):
      return precision.einsum("ij,jk->ik", a, a)

    self._run = jax.jit(product).lower(self._a).compile()

  def run(self) -> None:
    self._last = jax.block_until_ready(self._run(self._a))

  def results(self) -> dict[str, np.ndarray]:
    return {"corner": np.asarray(self._last[0, 0])}

  def peak_bytes(self) -> int | None:
    return None

  def facts(self) -> dict:
    return {"size": int(self._a.shape[0]), "dtype": str(self._a.dtype)}


prepare = _Case
