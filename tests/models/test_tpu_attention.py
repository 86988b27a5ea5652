"""The TPU's attention kernel, interpreted, against XLA's own attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import settings as settings_lib
from sigma_jax.bench import flops
from sigma_jax.models import attention, layers, tpu_attention
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import steps

pytestmark = pytest.mark.usefixtures("usual_promotion")


def inputs(tokens, dtype=jnp.float32, clips=2, dim=32):
  rng = np.random.default_rng(0)
  shape = (3, clips, tokens, 2, dim)
  return [jnp.asarray(x, dtype) for x in rng.normal(size=shape)]


def with_gradients(function):
  def loss(*arrays):
    out = function(*arrays)
    weights = jnp.arange(out.size, dtype=jnp.float32).reshape(out.shape)
    return jnp.sum(jnp.sin(weights) * out.astype(jnp.float32)), out

  return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


interpreted = functools.partial(tpu_attention.splash, interpret=True)


def compare(tokens, dtype, tolerance):
  arrays = inputs(tokens, dtype)
  grads, out = with_gradients(interpreted)(*arrays)
  assert {x.dtype for x in (out, *grads)} == {jnp.dtype(dtype)}
  exact = [x.astype(jnp.float32) for x in arrays]
  wanted_grads, wanted = with_gradients(jax.nn.dot_product_attention)(*exact)
  for a, b in zip((out, *grads), (wanted, *wanted_grads), strict=True):
    scale = float(jnp.abs(b).max())
    np.testing.assert_allclose(a.astype(jnp.float32), b, atol=tolerance * scale)


@pytest.mark.parametrize(
  ("dtype", "tolerance"), [(jnp.float32, 5e-6), (jnp.bfloat16, 0.03)]
)
@pytest.mark.parametrize("tokens", [37, 128, 300])
def test_computes_what_xla_does(tokens, dtype, tolerance):
  """Padded, not padded, and of several blocks of queries."""
  compare(tokens, dtype, tolerance)


def test_keys_in_several_blocks(monkeypatch):
  cut = tpu_attention.Blocks(padded=512, queries=128, keys=256, compute=128)
  monkeypatch.setattr(tpu_attention, "blocks", lambda tokens: cut)
  compare(390, jnp.float32, 5e-6)


@pytest.mark.parametrize("tokens", [1, 160, 512, 1568, 1569, 3136, 4608, 4700])
def test_blocks(tokens):
  cut = tpu_attention.blocks(tokens)
  assert tokens <= cut.padded < tokens + 128 + 512
  for size in (cut.queries, cut.keys, cut.compute):
    assert size % 128 == 0 and cut.padded % size == 0
  assert cut.keys % cut.compute == 0
  assert cut.keys >= min(cut.padded, 512)
  assert cut.queries * cut.compute <= 2**18


def test_keys_of_a_clip_are_read_once():
  """1568 tokens, those of 16 frames: hardly padded, all keys in one block."""
  assert tpu_attention.blocks(1568) == (1664, 128, 1664, 1664)


def test_eight_devices_are_one(monkeypatch):
  monkeypatch.setattr(attention, "_MIN_SPLASH_TOKENS", 16)
  monkeypatch.setattr(tpu_attention, "splash", interpreted)
  arrays = inputs(40, jnp.bfloat16, clips=8)

  def run(arrays, *place):
    with attention.on_platform("tpu", *place):
      return with_gradients(attention.attend)(*arrays)

  mesh = mesh_lib.make(settings_lib.Mesh(fsdp=2))
  split = jax.device_put(arrays, mesh_lib.batch_sharding(mesh))
  many = run(split, *steps.where(mesh)[1:])
  assert many[1].sharding.is_equivalent_to(split[0].sharding, 4)
  for a, b in zip(
    jax.tree.leaves(many), jax.tree.leaves(run(arrays)), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def traced(*shape, dtype=jnp.bfloat16, keys=None, place=("tpu",), **options):
  query = jax.ShapeDtypeStruct(shape, dtype)
  key = query.update(shape=(shape[0], keys or shape[1], *shape[2:]))
  with attention.on_platform(*place, **options):
    return str(jax.make_jaxpr(lambda *a: attention.attend(*a))(query, key, key))


def test_where_the_kernel_is_taken():
  assert "pallas_call" in traced(2, 512, 2, 32)
  for other in (
    traced(2, 511, 2, 32),
    traced(2, 512, 2, 16),
    traced(2, 512, 2, 32, dtype=jnp.float32),
    traced(2, 512, 2, 32, keys=600),
    traced(3, 512, 2, 32, place=("tpu", 2)),
    traced(2, 512, 2, 32, place=("cpu",)),
    traced(2, 512, 2, 32, kind="xla"),
  ):
    assert "pallas_call" not in other
  assert "custom_vjp" not in traced(2, 512, 2, 32, place=("cpu",), kind="xla")


def test_light_runs_the_forward_kernel_once():
  def products(remat):
    stack = nnx.eval_shape(
      lambda: layers.Stack(
        2, remat=remat, rngs=nnx.Rngs(0), dim=64, heads=2, mlp_ratio=2,
        norm_epsilon=1e-6, dtype=jnp.bfloat16,
      )
    )  # fmt: skip
    graph, state = nnx.split(stack)

    def loss(state, x):
      with attention.on_platform("tpu"):
        return jnp.sum(nnx.merge(graph, state)(x))

    x = jax.ShapeDtypeStruct((1, 512, 64), jnp.float32)
    return flops.matmul_flops(jax.grad(loss), state, x)

  assert products("light") == products("none")
  kernel = 2 * 2.0 * 512 * 512 * 64  # of a block, two products of all heads
  assert products("full") > products("none") + 2 * kernel


def test_products_of_the_kernel_are_counted():
  """512 x 512 scores a head: two products forward, five backward; row sums."""
  shape = jax.ShapeDtypeStruct((3, 512, 2, 32), jnp.bfloat16)
  product = 2.0 * 3 * 2 * 512 * 512 * 32

  def loss(*arrays):
    return jnp.sum(tpu_attention.splash(*arrays).astype(jnp.float32))

  found = flops.matmul_flops(tpu_attention.splash, *[shape] * 3)
  assert found == 2 * product
  both = jax.grad(loss, argnums=(0, 1, 2))
  assert flops.matmul_flops(both, *[shape] * 3) == 7 * product + product / 512
