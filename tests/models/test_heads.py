"""Heads on the encoder's tokens, and stochastic depth, against NumPy."""

import dataclasses
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


def test_a_projected_pool_by_hand(tokens):
  pool = heads.ProjectedPool(
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


# V-JEPA's name of each of the probe's parameters.
PROBE = {
  ("pool", "query_tokens"): "query_tokens",
  ("pool", "norm1"): "cross_attention_block.norm1",
  ("pool", "norm2"): "cross_attention_block.norm2",
  ("pool", "q"): "cross_attention_block.xattn.q",
  ("pool", "kv"): "cross_attention_block.xattn.kv",
  ("pool", "mlp", "fc1"): "cross_attention_block.mlp.fc1",
  ("pool", "mlp", "fc2"): "cross_attention_block.mlp.fc2",
  ("head",): "probe.linear",
}
KINDS = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def probe_name(path):
  """Of a leaf of a head's parameters."""
  *module, kind = (entry.key for entry in path)
  if kind == "query_tokens":
    return "probe.pooler.query_tokens"
  name = PROBE[tuple(module)]
  name = name if name.startswith("probe") else f"probe.pooler.{name}"
  return f"{name}.{KINDS[kind]}"


def ours(tensor, like):
  """A published tensor, or its gradient, in our layout."""
  tensor = np.asarray(tensor)
  return (tensor.T if tensor.ndim == 2 else tensor).reshape(like.shape)


def test_attentive_pooling_is_v_jepas(golden, tiny):
  """Logits and gradients as its code printed them, tests/golden/README.md."""
  case = golden("jepa/probe")
  model = dataclasses.replace(tiny.model, encoder_dim=32, encoder_heads=4)
  head = heads.Head(model, 5, pooling="attentive", rngs=nnx.Rngs(0))
  graph, state = nnx.split(head)
  params = jax.tree.map_with_path(
    lambda path, leaf: ours(case.weights[probe_name(path)], leaf),
    nnx.to_pure_dict(state),
  )
  assert len(jax.tree.leaves(params)) == len(case.weights) - 2  # no projection
  tokens, labels = case.arrays["tokens"], case.arrays["labels"]

  @jax.jit
  def loss(params):
    logits = nnx.merge(graph, params).outputs(jnp.asarray(tokens))
    chosen = jax.nn.log_softmax(logits)[np.arange(3), labels]
    return -jnp.mean(chosen), logits

  (value, logits), grads = jax.value_and_grad(loss, has_aux=True)(params)
  np.testing.assert_allclose(logits, case.arrays["logits"], atol=2e-6)
  assert float(value) == pytest.approx(float(case.arrays["loss"]), abs=1e-6)
  for path, grad in jax.tree.leaves_with_path(grads):
    wanted = case.options["grads"][probe_name(path)]
    grad = np.asarray(grad)
    assert np.linalg.norm(grad) == pytest.approx(wanted["norm"], rel=1e-4)
    grad = grad.T if path[-1].key == "kernel" else grad
    np.testing.assert_allclose(
      grad.reshape(-1)[:6], wanted["head"], atol=1e-5 * wanted["norm"] + 1e-9
    )


def test_attentive_pooling_starts_as_v_jepas(tiny):
  model = dataclasses.replace(tiny.model, encoder_dim=256, encoder_heads=4)
  head = heads.Head(model, 400, pooling="attentive", rngs=nnx.Rngs(0))
  w = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.split(head)[1]))
  pool = w["pool"]
  assert w.keys() == {"pool", "head"}  # no norm behind the pooling
  for kernel, deviation in (
    (pool["query_tokens"], 0.02),
    (pool["q"]["kernel"], 0.02),
    (pool["kv"]["kernel"], 0.02),
    (pool["mlp"]["fc1"]["kernel"], 0.02),
    (pool["mlp"]["fc2"]["kernel"], 0.02 / np.sqrt(2)),
    (w["head"]["kernel"], 1 / np.sqrt(3 * 256)),  # PyTorch's default
    (w["head"]["bias"], 1 / np.sqrt(3 * 256)),
  ):
    few = 0.15 if kernel.size < 1000 else 0.01
    assert kernel.std() == pytest.approx(deviation, rel=few)
  assert np.abs(w["head"]["bias"]).max() <= 1 / 16
  for part in (pool["q"], pool["kv"], pool["mlp"]["fc1"], pool["mlp"]["fc2"]):
    np.testing.assert_array_equal(part["bias"], 0)
  assert head.pool.norm1.epsilon == head.pool.norm2.epsilon == 1e-5


@pytest.mark.parametrize("pooling", ["attentive", "attention"])
def test_attention_does_not_see_the_order(tiny, pooling):
  tokens = np.random.default_rng(1).normal(size=(2, 5, 32)).astype(np.float32)
  head = heads.Head(tiny.model, 3, pooling=pooling, rngs=nnx.Rngs(1))
  np.testing.assert_allclose(
    head.outputs(tokens[:, ::-1]), head.outputs(tokens), atol=1e-5
  )


def test_mean_pooling_by_hand(tiny, tokens):
  model = tiny.model
  tokens = np.random.default_rng(1).normal(size=(2, 5, 32)).astype(np.float32)
  head = heads.Head(model, 3, scale=1.0, rngs=nnx.Rngs(0))
  kernel = np.asarray(head.head.kernel[...])
  wanted = norm(tokens.mean(axis=1)) @ kernel
  np.testing.assert_allclose(head.outputs(tokens), wanted, atol=1e-5)


@pytest.mark.parametrize(
  ("pooling", "pool_normed", "normed"),
  [("mean", False, False), ("mean", True, True), ("attentive", False, True)],
)
def test_which_tokens_a_head_reads(tiny, pooling, pool_normed, normed):
  """VideoMAE's before the encoder's last norm, V-JEPA's after it."""
  model = dataclasses.replace(tiny.model, pool_normed=pool_normed)
  made = heads.Classifier(
    model, tiny.grid, 3, pooling=pooling, rngs=nnx.Rngs(0)
  )
  video = np.random.default_rng(1).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  tokens = made.tokens(video)
  spread = np.asarray(tokens).std(axis=-1)
  assert (np.abs(spread - 1).max() < 1e-3) == normed


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
