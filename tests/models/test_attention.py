"""Attention by tiles against XLA's own, and which of them is taken where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax.models import attention


def inputs(tokens, dtype=jnp.float32, heads=3):
  rng = np.random.default_rng(0)
  shape = (3, 2, tokens, heads, 8)
  return [jnp.asarray(x, dtype) for x in 2 * rng.normal(size=shape)]


def with_gradients(function):
  def loss(*arrays):
    out = function(*arrays)
    weights = jnp.arange(out.size, dtype=jnp.float32).reshape(out.shape)
    return jnp.sum(jnp.sin(weights) * out.astype(jnp.float32)), out

  return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize("tile", [2**23, 2**13, 2**8], ids=["1", "many", "all"])
@pytest.mark.parametrize("tokens", [24, 37])
def test_tiles_compute_what_xla_does(monkeypatch, tokens, tile):
  """Whole heads, some queries, and one query a tile; 37 has no parts."""
  monkeypatch.setattr(attention, "_TILE_BYTES", tile)
  arrays = inputs(tokens)
  grads, out = with_gradients(attention.tiled)(*arrays)
  wanted_grads, wanted = with_gradients(jax.nn.dot_product_attention)(*arrays)
  np.testing.assert_allclose(out, wanted, atol=5e-6)
  for a, b in zip(grads, wanted_grads, strict=True):
    np.testing.assert_allclose(a, b, atol=5e-6 * float(jnp.abs(b).max()))


def test_large_scores_do_not_overflow():
  arrays = [100 * x for x in inputs(24)]
  grads, out = with_gradients(attention.tiled)(*arrays)
  assert all(np.isfinite(x).all() for x in (out, *grads))


def test_bfloat16_comes_back_as_bfloat16(usual_promotion):
  arrays = inputs(24, jnp.bfloat16)
  grads, out = with_gradients(attention.tiled)(*arrays)
  exact = [x.astype(jnp.float32) for x in arrays]
  wanted_grads, wanted = with_gradients(attention.tiled)(*exact)
  assert {x.dtype for x in (out, *grads)} == {jnp.dtype(jnp.bfloat16)}
  for a, b in zip((out, *grads), (wanted, *wanted_grads), strict=True):
    scale = float(jnp.abs(b).max())
    np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.03 * scale)


def lowered(tokens, platform, dtype=jnp.float32):
  arrays = [jax.ShapeDtypeStruct((1, tokens, 2, 8), dtype)] * 3
  with attention.on_platform(platform):
    # A new function each time: JAX remembers what it has traced.
    return str(jax.make_jaxpr(lambda *a: attention.attend(*a))(*arrays))


def test_only_long_sequences_on_a_cpu_are_tiled():
  assert "custom_vjp" in lowered(512, "cpu")
  assert "custom_vjp" not in lowered(511, "cpu")
  assert "custom_vjp" not in lowered(512, "tpu")
  assert "custom_vjp" not in lowered(512, "gpu")


def test_cudnn_is_asked_before_it_is_taken(monkeypatch, usual_promotion):
  """There is none here: attention falls back, and says so once."""
  said = []
  monkeypatch.setattr(
    attention.logging, "warning", lambda text, *args: said.append(text % args)
  )
  attention._cudnn_takes.cache_clear()
  fallback = lowered(64, "gpu", jnp.bfloat16)
  assert fallback == lowered(64, "tpu", jnp.bfloat16)
  assert fallback == lowered(64, "gpu", jnp.bfloat16)
  assert len(said) == 1 and "without cuDNN" in said[0]
  taken = []
  monkeypatch.setattr(attention, "_cudnn_takes", lambda shape: True)
  monkeypatch.setattr(
    jax.nn,
    "dot_product_attention",
    lambda q, k, v, implementation=None: taken.append(implementation) or q,
  )
  lowered(64, "gpu", jnp.bfloat16)
  lowered(64, "gpu", jnp.float32)
  assert taken == ["cudnn", None]
