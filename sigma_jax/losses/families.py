"""What assignment from the top of a tree does to one tile of tubes.

Tubes are columns here, and a level's nodes stand family by family, the children
of one node beside each other: [k, rows] is [a, k / a, rows] with a the number
of nodes above. So both sums of a round, over a family's members for each tube
and over tubes for each member, are a product of a matrix and a vector for each
family, on consecutive numbers. The coarsest level is one family.

Shares are plain numbers here, of kernels exp((score - 1) / epsilon) and
potentials of which the largest in a family is 1, see `plans.fits`; all arrays
are float32. Of hard labels only the families that they are in have a gradient:
`entropy_of_labels` works on these alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sigma_jax import precision


def _each(x: jax.Array, parents: int) -> jax.Array:
  """Family by family: [k, ...] -> [a, k / a, ...]."""
  return x.reshape(parents, -1, *x.shape[1:])


def _sums(kernel, potential, parents: int):
  """Sums over families of kernels by potentials, [k, rows] -> [a, rows]."""

  def by_products(kernel, potential):
    # XLA on CPU does not vectorise these sums, but has fast products.
    left = potential.reshape(parents, 1, -1)
    how = precision.of(kernel.dtype)
    axes = (((2,), (1,)), ((0,), (0,)))
    return jax.lax.dot_general(
      left, _each(kernel, parents), axes, precision=how
    )[:, 0]

  def plainly(kernel, potential):
    return jnp.sum(_each(kernel * potential[:, None], parents), axis=1)

  return jax.lax.platform_dependent(
    kernel, potential, cpu=by_products, default=plainly
  )


def under(x: jax.Array, k: int) -> jax.Array:
  """Of parents, [a, rows] -> of each one's children, [k, rows]."""
  # jnp.repeat of a given total length is a gather.
  a, rows = x.shape
  return jnp.broadcast_to(x[:, None], (a, k // a, rows)).reshape(k, rows)


def factors(
  kernel: jax.Array, potential: jax.Array, above: jax.Array
) -> jax.Array:
  """What makes kernels with their potentials shares.

  Args:
    kernel: [k, rows].
    potential: [k].
    above: [a, rows], the parents' shares.

  Returns:
    [a, rows]: a child's share is the product of kernel, potential and its
    family's factor.
  """
  return above / _sums(kernel, potential, len(above))


def shares(
  kernel: jax.Array, potential: jax.Array, above: jax.Array
) -> jax.Array:
  """A level's shares, [k, rows], which sum to their parents'; see `factors`."""
  found = factors(kernel, potential, above)
  return kernel * potential[:, None] * under(found, len(kernel))


def masses(kernel: jax.Array, factors: jax.Array) -> jax.Array:
  """Sums over tubes of kernels by their families' factors: [k].

  Args:
    kernel: [k, rows].
    factors: [a, rows].
  """
  how = precision.of(kernel.dtype)
  parents = len(factors)
  if parents == 1:
    return jax.lax.dot(kernel, factors[0], precision=how)

  def by_products(kernel, factors):
    axes = (((2,), (1,)), ((0,), (0,)))
    each, right = _each(kernel, parents), factors[..., None]
    return jax.lax.dot_general(each, right, axes, precision=how).reshape(-1)

  def plainly(kernel, factors):
    return jnp.sum(kernel * under(factors, len(kernel)), axis=1)

  return jax.lax.platform_dependent(
    kernel, factors, cpu=by_products, default=plainly
  )


def largest(
  kernel: jax.Array, potential: jax.Array, above: jax.Array
) -> jax.Array:
  """Where each tube's largest share is, int32 [rows]; given as `factors`."""
  parents = len(above)
  product = kernel * potential[:, None]
  tops = jnp.max(_each(product, parents), axis=1)
  parent = jnp.argmax(tops * factors(kernel, potential, above), axis=0)
  member = jnp.argmax(_family(product, parent, parents), axis=0)
  return (parent * (len(kernel) // parents) + member).astype(jnp.int32)


def _family(x, parent, parents: int):
  """The children of one node a tube: [k, rows] -> [k / a, rows]."""
  each = _each(x, parents)
  return jnp.take_along_axis(each, parent[None, None], axis=0)[0]


def entropy_of_labels(
  kernel: jax.Array,
  label: jax.Array,
  parents: int,
  logits: Callable[[jax.Array], jax.Array],
  weight: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy of each tube's label within its family.

  Args:
    kernel: [k, rows].
    label: int32 [rows], of 0 .. k - 1.
    parents: a, number of families.
    logits: of kernels, elementwise; only of those in the labels' families.
    weight: [rows], what the gradient is multiplied with.

  Returns:
    [rows], and its weighted gradient by the logits, [k, rows].
  """
  size = len(kernel) // parents
  parent, member = jnp.divmod(label, size)
  log_p = jax.nn.log_softmax(logits(_family(kernel, parent, parents)), axis=0)
  value = -jnp.take_along_axis(log_p, member[None], axis=0)[0]
  hit = member == jnp.arange(size)[:, None]
  error = (jnp.exp(log_p) - hit.astype(jnp.float32)) * weight
  if parents == 1:
    return value, error
  here = parent == jnp.arange(parents)[:, None]
  error = jnp.where(here[:, None], error, 0.0)
  return value, error.reshape(kernel.shape)


def together(leaves: tuple[int, int, int], nodes: int) -> int:
  """How many tiles of a level hold at most as many numbers as one of leaves.

  Loops over tiles of few nodes would cost more than what is computed in them.

  Args:
    leaves: shape of the leaves' kernels, [tiles, k, rows].
    nodes: of the level.
  """
  tiles, k, _ = leaves
  most = max(k // nodes, 1)
  return max(n for n in range(1, tiles + 1) if tiles % n == 0 and n <= most)


def joined(tree: Any, count: int) -> Any:
  """`count` neighbouring tiles as one: [n, k, rows] -> [n / count, k, ..]."""

  def one(x):
    n, k, rows = x.shape
    x = x.reshape(n // count, count, k, rows)
    return jnp.moveaxis(x, 1, 2).reshape(n // count, k, count * rows)

  return tree if count == 1 else jax.tree.map(one, tree)
