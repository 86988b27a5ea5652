"""Counts of matrix products against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from sigma_jax.bench.flops import matmul_flops


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_matrix_product():
  found = matmul_flops(jnp.dot, shape(3, 5), shape(5, 7))
  assert found == 2 * 3 * 5 * 7


def test_batched_product_and_elementwise_work_that_is_free():
  def function(a, b):
    return jnp.sum(jnp.exp(jnp.einsum("bij,bjk->bik", a, b)) + 1.0)

  assert matmul_flops(function, shape(4, 3, 5), shape(4, 5, 7)) == 4 * 210


def test_convolution():
  def function(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID")

  found = matmul_flops(function, shape(2, 6, 9, 9), shape(8, 6, 3, 3))
  assert found == 2 * (2 * 8 * 4 * 4) * (6 * 3 * 3)


def test_grouped_convolution():
  def function(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "VALID", feature_group_count=3
    )

  found = matmul_flops(function, shape(1, 6, 5, 5), shape(6, 2, 5, 5))
  assert found == 2 * 6 * (2 * 5 * 5)


def scanned(x, weights):
  return jax.lax.scan(lambda x, w: (x @ w, None), x, weights)[0]


def test_scan_counts_its_length_and_xla_does_not():
  """The reason for counting here: XLA's figure is that of one turn."""
  arguments = shape(4, 8), shape(11, 8, 8)
  assert matmul_flops(scanned, *arguments) == 11 * 2 * 4 * 8 * 8
  compiled = jax.jit(scanned).lower(*arguments).compile()
  assert compiled.cost_analysis()["flops"] < 2 * 2 * 4 * 8 * 8


def test_gradient_of_a_scan():
  def loss(x, weights):
    return jnp.sum(scanned(x, weights))

  found = matmul_flops(jax.grad(loss, (0, 1)), shape(4, 8), shape(11, 8, 8))
  assert found == 11 * 3 * 2 * 4 * 8 * 8


def test_nested_scans():
  def function(x, weights):
    return jax.lax.scan(lambda x, _: (scanned(x, weights), None), x, length=3)

  found = matmul_flops(function, shape(4, 8), shape(5, 8, 8))
  assert found == 3 * 5 * 2 * 4 * 8 * 8


def block(x, first, second):
  return jnp.tanh(x @ first) @ second


# Forward two products and backward two for each of them; a checkpoint computes
# the first again, whose result the tanh's derivative needs, and not the second.
@pytest.mark.parametrize(("wrap", "products"), [(lambda f: f, 6), (None, 7)])
def test_gradient_of_a_checkpointed_block(wrap, products):
  function = (wrap or jax.checkpoint)(block)

  def loss(*arguments):
    return jnp.sum(function(*arguments))

  arguments = shape(6, 8), shape(8, 8), shape(8, 8)
  found = matmul_flops(jax.grad(loss, (0, 1, 2)), *arguments)
  assert found == products * 2 * 6 * 8 * 8


def test_counting_loops():
  w = jnp.eye(8)

  def by_fori(x):
    return jax.lax.fori_loop(0, 9, lambda _, x: x @ w, x)

  def by_while(x):
    return jax.lax.while_loop(
      lambda c: c[0] < 12, lambda c: (c[0] + 1, c[1] @ w), (3, x)
    )[1]

  for function in (by_fori, by_while):
    assert matmul_flops(function, shape(4, 8)) == 9 * 2 * 4 * 8 * 8


def test_a_loop_of_unknown_length_is_an_error_only_around_products():
  def until(body):
    return lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1.0, body, x)

  assert matmul_flops(until(lambda x: x + 1.0), shape(8, 8)) == 0
  with pytest.raises(ValueError, match="while loop whose number of turns"):
    matmul_flops(until(lambda x: x @ x), shape(8, 8))


def test_loops_that_count_otherwise_are_refused():
  def by_two(x):
    return jax.lax.while_loop(
      lambda c: c[0] < 12, lambda c: (c[0] + 2, c[1] @ c[1]), (0, x)
    )

  with pytest.raises(ValueError, match="while loop"):
    matmul_flops(by_two, shape(8, 8))


def test_of_branches_the_dearest():
  def function(yes, x):
    return jax.lax.cond(yes, lambda x: x @ x @ x, lambda x: x @ x, x)

  arguments = jax.ShapeDtypeStruct((), bool), shape(8, 8)
  assert matmul_flops(function, *arguments) == 2 * 2 * 8**3


@jax.custom_vjp
def with_own_gradient(x):
  return x @ x


with_own_gradient.defvjp(
  lambda x: (x @ x, x), lambda x, g: (g @ x @ x + x @ g,)
)


@jax.custom_jvp
def with_own_derivative(x):
  return x @ x


with_own_derivative.defjvp(
  lambda x, dx: (x[0] @ x[0], dx[0] @ x[0] + x[0] @ dx[0])
)


@pytest.mark.parametrize(
  ("function", "products"), [(with_own_gradient, 4), (with_own_derivative, 3)]
)
def test_own_gradients_under_jit(function, products):
  """Of the gradient only what it computes, within jit or not."""
  assert matmul_flops(jax.jit(function), shape(8, 8)) == 2 * 8**3

  def loss(x):
    return jnp.sum(jax.jit(function)(x))

  assert matmul_flops(jax.grad(loss), shape(8, 8)) == products * 2 * 8**3


def test_shard_map_counts_all_devices():
  mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
  split = PartitionSpec(("a", "b"))
  spread = jax.shard_map(
    lambda x, w: x @ w,
    mesh=mesh,
    in_specs=(split, PartitionSpec()),
    out_specs=split,
  )
  found = matmul_flops(spread, shape(16, 5), shape(5, 7))
  assert found == matmul_flops(jnp.dot, shape(16, 5), shape(5, 7))
