"""Sums over arrays that tell whether what was restored is what was saved.

Neither Orbax nor the files' format notices a flipped bit in an array's data
(tried: it comes back as another number, silently).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax.train import storage_faults


def of(tree: Any) -> dict[str, int]:
  """One number an array, which does not depend on where its parts are.

  Args:
    tree: pytree of arrays of 4, 2 or 1 bytes an element.

  Returns:
    Path of every array -> sum over its elements, modulo 2^32, of a hash of
    the element's bits and place.
  """
  sums = jax.device_get(_sums(tree))
  leaves = jax.tree_util.tree_leaves_with_path(sums)
  return {name_of(path): int(value) for path, value in leaves}


def name_of(path: tuple) -> str:
  """A path into a pytree as Orbax stores it, such as params/encoder/kernel."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def check(tree: Any, saved: dict[str, int]) -> None:
  """Compares with what `of` gave when the tree was saved.

  Raises:
    Damaged: an array has other content; names the first three.
  """
  found = of(tree)
  wrong = [name for name in found if found[name] != saved.get(name)]
  if wrong:
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise storage_faults.Damaged(
      f"other content than saved in {', '.join(wrong[:3])}{more}"
    )


@jax.jit
def _sums(tree):
  return jax.tree.map(_sum, tree)


def _sum(x: jax.Array) -> jax.Array:
  bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
  place = jnp.zeros(x.shape, jnp.uint32)
  for axis, size in enumerate(x.shape):
    along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    place = place * np.uint32(size) + along
  hashed = _mix(bits.astype(jnp.uint32) ^ _mix(place))
  return jnp.sum(hashed, dtype=jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
  """Every bit of a uint32 into every other (MurmurHash3's finaliser)."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
