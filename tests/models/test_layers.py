"""GELU by hand; blocks in a stack and one by one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax.models import layers

POINTS = (-9.0, -3.0, -0.5, 0.0, 1e-3, 0.7, 2.0, 6.0)


def exact(x):
  return x * (1 + math.erf(x / math.sqrt(2))) / 2


def slope(x):
  density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
  return (1 + math.erf(x / math.sqrt(2))) / 2 + x * density


def test_gelu_is_the_exact_one():
  x = jnp.asarray(POINTS, jnp.float32)
  np.testing.assert_allclose(layers.gelu(x), [*map(exact, POINTS)], atol=1e-6)
  by_x = jax.grad(lambda x: layers.gelu(x).sum())(x)
  np.testing.assert_allclose(by_x, [*map(slope, POINTS)], atol=1e-6)


@pytest.mark.parametrize("x", POINTS)
def test_gelu_of_bfloat16_is_rounded_once(x):
  x = jnp.asarray(x, jnp.bfloat16)
  assert layers.gelu(x).dtype == jnp.bfloat16
  wanted = exact(float(x))
  assert float(layers.gelu(x)) == pytest.approx(wanted, rel=2**-8, abs=1e-6)
