"""What assignment from the top of a tree does to one tile of tubes.

A level's nodes stand family by family, the children of one node beside each
other: [rows, k] is [rows, a, k / a] with a the number of nodes above. The
coarsest level is one family.

Shares are plain numbers here, of kernels exp((score - 1) / epsilon) and
potentials of which the largest in a family is 1, see `plans.fits`; all arrays
are float32. Of hard labels only the families that they are in have a gradient:
`entropy_of_labels` works on these alone.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sigma_jax import precision

# Columns of the products that sum families on a CPU.
_COLUMNS = 300


def _sums(x, parents: int):
  """Sums over families, [rows, k] -> [rows, a]."""

  def by_products(x):
    # XLA on CPU does not vectorise short sums. Products with ones do (measured
    # for 11,264 x 3000 in 100 families, a round of one side: 80 ms to 28; one
    # without families takes 16).
    size = x.shape[1] // parents
    together = max(
      n
      for n in range(1, parents + 1)
      if parents % n == 0 and (n == 1 or n * size <= _COLUMNS)
    )
    ones = jnp.repeat(jnp.eye(together, dtype=jnp.float32), size, axis=0)
    how = precision.of(x.dtype)
    found = jax.lax.dot(x.reshape(-1, len(ones)), ones, precision=how)
    return found.reshape(x.shape[0], parents)

  def plainly(x):
    return jnp.sum(x.reshape(x.shape[0], parents, -1), axis=-1)

  return jax.lax.platform_dependent(x, cpu=by_products, default=plainly)


def under(x: jax.Array, k: int) -> jax.Array:
  """Of parents, [rows, a] -> of each one's children, [rows, k]."""
  # jnp.repeat of a given total length is a gather.
  wide = jnp.broadcast_to(x[..., None], (*x.shape, k // x.shape[1]))
  return wide.reshape(x.shape[0], k)


def scaled(
  kernel: jax.Array, potential: jax.Array, above: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Kernels with their potentials, and what makes them shares.

  Args:
    kernel: [rows, k].
    potential: [k].
    above: [rows, a], the parents' shares.

  Returns:
    [rows, k], and factors [rows, a]: a child's share is the product of its own
    and its family's.
  """
  product = kernel * potential
  return product, above / _sums(product, above.shape[1])


def shares(
  kernel: jax.Array, potential: jax.Array, above: jax.Array
) -> jax.Array:
  """A level's shares, [rows, k], which sum to their parents'; see `scaled`."""
  product, factors = scaled(kernel, potential, above)
  return product * under(factors, kernel.shape[1])


def masses(kernel: jax.Array, factors: jax.Array) -> jax.Array:
  """Sums over rows of kernels by their families' factors: [k].

  Args:
    kernel: [rows, k].
    factors: [rows, a], from `scaled`.
  """
  how = precision.of(kernel.dtype)
  if factors.shape[1] == 1:
    return jax.lax.dot(factors[:, 0], kernel, precision=how)
  given = kernel * under(factors, kernel.shape[1])
  return jax.lax.dot(jnp.ones_like(given[:, 0]), given, precision=how)


def largest(
  kernel: jax.Array, potential: jax.Array, above: jax.Array
) -> jax.Array:
  """Where each row's largest share is, int32 [rows]; arguments as `scaled`."""
  product, factors = scaled(kernel, potential, above)
  tops = jnp.max(product.reshape(*above.shape, -1), axis=-1)
  parent = jnp.argmax(tops * factors, axis=-1)
  member = jnp.argmax(_family(product, parent, above.shape[1]), axis=-1)
  return (parent * (kernel.shape[1] // above.shape[1]) + member).astype(
    jnp.int32
  )


def _family(x, parent, parents: int):
  """The children of one node a row: [rows, k] -> [rows, k / a]."""
  each = x.reshape(x.shape[0], parents, -1)
  return jnp.take_along_axis(each, parent[:, None, None], axis=1)[:, 0]


def entropy_of_labels(
  kernel: jax.Array,
  label: jax.Array,
  parents: int,
  logits: Callable[[jax.Array], jax.Array],
  weight: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy of each row's label within its family.

  Args:
    kernel: [rows, k].
    label: int32 [rows], of 0 .. k - 1.
    parents: a, number of families.
    logits: of kernels, elementwise; only of those in the labels' families.
    weight: [rows], what the gradient is multiplied with.

  Returns:
    [rows], and its weighted gradient by the logits, [rows, k].
  """
  size = kernel.shape[1] // parents
  parent, member = jnp.divmod(label, size)
  log_p = jax.nn.log_softmax(logits(_family(kernel, parent, parents)), axis=-1)
  value = -jnp.take_along_axis(log_p, member[:, None], axis=-1)[:, 0]
  hit = member[:, None] == jnp.arange(size)
  error = (jnp.exp(log_p) - hit.astype(jnp.float32)) * weight[:, None]
  if parents == 1:
    return value, error
  here = parent[:, None] == jnp.arange(parents)
  error = jnp.where(here[..., None], error[:, None], 0.0)
  return value, error.reshape(kernel.shape)
