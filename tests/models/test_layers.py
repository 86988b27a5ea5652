"""GELU by hand; blocks in a stack and one by one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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


@pytest.mark.parametrize("remat", ["none", "light", "full"])
@pytest.mark.parametrize("num_blocks", [None, 2])
def test_blocks_one_by_one_are_the_stack(remat, num_blocks):
  stack = layers.Stack(
    3, remat=remat, rngs=nnx.Rngs(0), dim=8, heads=2, mlp_ratio=2,
    norm_epsilon=1e-6, dtype=jnp.float32,
  )  # fmt: skip
  graph, params = nnx.split(stack)
  params = nnx.to_pure_dict(params)
  single = jax.tree.map(tuple, params)
  x = jax.random.normal(jax.random.key(1), (2, 5, 8))

  @jax.jit
  def run(params):
    def loss(params):
      out = nnx.merge(graph, params)(x, num_blocks)
      return jnp.sum(jnp.sin(out)), out

    return jax.value_and_grad(loss, has_aux=True)(params)

  (_, wanted), by_stack = run(params)
  (_, found), by_single = run(single)
  assert "while" in run.lower(params).as_text()
  assert "while" not in run.lower(single).as_text()
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  jax.tree.map(
    lambda stacked, each: np.testing.assert_allclose(
      np.stack(each), stacked, atol=1e-4
    ),
    by_stack,
    by_single,
  )
