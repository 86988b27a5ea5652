"""Heads on the encoder's tokens, and stochastic depth, against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax.models import heads, layers


def norm(x, epsilon=1e-6):
  mean = x.mean(axis=-1, keepdims=True)
  return (x - mean) / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)


def gelu(x):
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


@pytest.fixture(name="tokens")
def tokens_fixture():
  return np.random.default_rng(0).normal(0, 2, (3, 7, 8)).astype(np.float32)


def test_attentive_pooling_by_hand(tokens):
  pool = heads.AttentivePool(
    8, 2, mlp_ratio=2, norm_epsilon=1e-6, rngs=nnx.Rngs(1)
  )
  w = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.split(pool)[1]))

  def linear(x, part):
    return x @ part["kernel"] + part["bias"]

  query = linear(w["query"], w["q"])[0].reshape(2, 4)
  kv = linear(norm(tokens), w["kv"])
  key, value = (x.reshape(3, 7, 2, 4) for x in np.split(kv, 2, axis=-1))
  scores = np.einsum("hd,bnhd->bhn", query, key) / 2.0
  weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
  found = np.einsum("bhn,bnhd->bhd", weights, value).reshape(3, 8)
  x = w["query"] + linear(found, w["proj"])
  x = x + linear(gelu(linear(norm(x), w["mlp"]["fc1"])), w["mlp"]["fc2"])
  np.testing.assert_allclose(pool(tokens), x, atol=1e-5)


def test_attentive_pooling_does_not_see_the_order(tokens):
  pool = heads.AttentivePool(
    8, 2, mlp_ratio=2, norm_epsilon=1e-6, rngs=nnx.Rngs(1)
  )
  np.testing.assert_allclose(pool(tokens[:, ::-1]), pool(tokens), atol=1e-5)


def test_mean_pooling_by_hand(tiny, tokens):
  model = tiny.model
  tokens = np.random.default_rng(1).normal(size=(2, 5, 32)).astype(np.float32)
  head = heads.Head(model, 3, scale=1.0, rngs=nnx.Rngs(0))
  kernel = np.asarray(head.head.kernel[...])
  wanted = norm(tokens.mean(axis=1)) @ kernel
  np.testing.assert_allclose(head.outputs(tokens), wanted, atol=1e-5)


def test_scale_is_of_the_linear_map_alone(tiny):
  small, usual = (
    heads.Head(tiny.model, 50, scale=scale, rngs=nnx.Rngs(0))
    for scale in (0.001, 1.0)
  )
  np.testing.assert_allclose(
    1000 * small.head.kernel[...], usual.head.kernel[...], rtol=1e-5
  )
  assert 0.015 < float(jnp.std(usual.head.kernel[...])) < 0.025


# --- stochastic depth ---------------------------------------------------------


def test_branches_are_dropped_by_clip_and_scaled():
  drop = layers.DropPath(jax.random.key(0), jnp.float32(0.25))
  branch = jnp.ones((4000, 3, 2))
  out = np.asarray(drop(branch, 0))
  assert np.all((out == 0) | (out == np.float32(1 / 0.75)))
  by_clip = out.reshape(4000, -1)
  assert np.all(by_clip.min(axis=1) == by_clip.max(axis=1))
  assert abs(out.mean() - 1) < 0.03
  assert (np.asarray(drop(branch, 1)) != out).any()  # the other branch


def test_the_first_block_is_never_dropped_and_rate_zero_is_nothing(tokens):
  stack = layers.Stack(
    3, remat="none", rngs=nnx.Rngs(0), dim=8, heads=2, mlp_ratio=2,
    norm_epsilon=1e-6, dtype=jnp.float32,
  )  # fmt: skip
  plain = stack(tokens)
  none = stack(tokens, drop=layers.DropPath(jax.random.key(0), 0.0))
  np.testing.assert_allclose(none, plain, atol=1e-6)
  high = layers.DropPath(jax.random.key(0), 0.9)
  np.testing.assert_allclose(
    stack(tokens, 1, high), stack(tokens, 1), atol=1e-6
  )
  assert np.abs(stack(tokens, None, high) - plain).max() > 1e-2


def test_blocks_one_by_one_drop_the_same(tokens):
  stack = layers.Stack(
    3, remat="light", rngs=nnx.Rngs(0), dim=8, heads=2, mlp_ratio=2,
    norm_epsilon=1e-6, dtype=jnp.float32,
  )  # fmt: skip
  graph, params = nnx.split(stack)
  single = jax.tree.map(tuple, nnx.to_pure_dict(params))
  drop = layers.DropPath(jax.random.key(3), 0.5)
  np.testing.assert_allclose(
    nnx.merge(graph, single)(tokens, drop=drop),
    stack(tokens, drop=drop),
    atol=1e-5,
  )
