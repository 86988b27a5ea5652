"""Tubes' features on the unit sphere, and the way back for gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax.losses import plans
from sigma_jax.losses.assignment import SHORTEST


class Unit(NamedTuple):
  """Normalised rows: `unit` in the products' dtype; `exact` and 1 / norm.

  short: bool [rows, 1], where it is no norm that they were divided by.
  """

  unit: jax.Array
  exact: jax.Array
  inverse: jax.Array
  short: jax.Array

  def pull(self, gradient):
    """Gradient by the rows as they were before they were normalised."""
    along = jnp.sum(gradient * self.exact, axis=-1, keepdims=True)
    along = jnp.where(self.short, 0.0, along)
    return (gradient - self.exact * along) * self.inverse


def normalize(x: jax.Array, plan: plans.Plan) -> Unit:
  """[rows, p], as `assignment.normalize`."""
  x = x.astype(jnp.float32)
  squares, least = jnp.sum(x * x, axis=-1, keepdims=True), SHORTEST**2
  inverse = jax.lax.rsqrt(jnp.maximum(squares, least))
  unit = x * inverse
  return Unit(unit.astype(plan.dtype), unit, inverse, squares < least)
