"""Clipping of each parameter, and parts that are held at first."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.train import layout, optimizer, parts

RNG = np.random.default_rng(0)
MOST = 0.5


def draw(*shape, scale=1.0):
  return jnp.asarray(scale * RNG.standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module", name="grads")
def grads_fixture():
  """A long and a short block, biases of one attention, and a short one."""
  of_blocks = jnp.asarray([10.0, 0.01])
  return {
    "encoder": {
      "stack": {
        "blocks": {
          "attn": {
            "q_bias": draw(2, 5) * of_blocks[:, None],
            "v_bias": draw(2, 5) * of_blocks[:, None],
          },
          "kernel": draw(2, 4, 3) * of_blocks[:, None, None],
        }
      }
    },
    "head": {"kernel": draw(4, 4), "bias": draw(4, scale=1e-3)},
  }


def test_each_parameter_of_each_block_has_its_own_norm(grads):
  found = parts.clip_each(grads, MOST)
  blocks = found["encoder"]["stack"]["blocks"]
  given = grads["encoder"]["stack"]["blocks"]
  norms = np.linalg.norm(blocks["kernel"].reshape(2, -1), axis=1)
  np.testing.assert_allclose(norms[0], MOST, rtol=1e-5)
  np.testing.assert_array_equal(blocks["kernel"][1], given["kernel"][1])
  # One bias in the published code, of query, key and value.
  joint = jnp.concatenate(
    [blocks["attn"]["q_bias"], blocks["attn"]["v_bias"]], 1
  )
  np.testing.assert_allclose(np.linalg.norm(joint[0]), MOST, rtol=1e-5)
  factor = blocks["attn"]["q_bias"][0] / given["attn"]["q_bias"][0]
  np.testing.assert_allclose(
    blocks["attn"]["v_bias"][0], given["attn"]["v_bias"][0] * factor, rtol=1e-5
  )
  norm = float(np.linalg.norm(grads["head"]["kernel"]))
  np.testing.assert_allclose(
    found["head"]["kernel"],
    grads["head"]["kernel"] * MOST / (norm + 1e-6),
    rtol=1e-6,
  )
  np.testing.assert_array_equal(found["head"]["bias"], grads["head"]["bias"])


def test_blocks_that_are_not_stacked_are_clipped_alike(grads):
  found = layout.stack(parts.clip_each(layout.unstack(grads), MOST))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
    found,
    parts.clip_each(grads, MOST),
  )


def run_of(**options):
  return settings_lib.Optimizer(
    base_lr=0.1, min_lr=0.01, warmup_epochs=1.0, weight_decay=0.3, **options
  )


def make(held, **options):
  return optimizer.make(
    run_of(**options),
    batch_size=256,
    total_steps=10,
    steps_per_epoch=2.0,
    held=held,
  )


@pytest.mark.parametrize("decay_end", [-1.0, 0.5])
def test_a_held_part_is_as_if_it_had_no_gradient(grads, decay_end):
  """No decay, no moments; then the first step of its own, at today's rate."""
  tx, rate = make({"head": 3}, weight_decay_end=decay_end)
  params = jax.tree.map(lambda leaf: leaf + 1.0, grads)
  state, first = tx.init(params), params["head"]
  for step in range(5):
    updates, state = tx.update(grads, state, params)
    before, params = params, optax.apply_updates(params, updates)
    if step < 3:
      jax.tree.map(np.testing.assert_array_equal, params["head"], first)
  # Adam's second step of equal gradients still divides each by itself.
  decay = (
    0.3
    if decay_end < 0
    else 0.5 + (0.3 - 0.5) * (0.5 * (1 + np.cos(np.pi * 4 / 10)))
  )
  sign = np.sign(grads["head"]["kernel"])
  wanted = before["head"]["kernel"] - rate(4) * (
    sign + decay * before["head"]["kernel"]
  )
  np.testing.assert_allclose(params["head"]["kernel"], wanted, atol=1e-5)


def test_what_is_not_held_trains_as_without(grads):
  found = []
  for held in ({"head": 2}, {"head": 0}, None):
    tx, _ = make(held, clip_norm=MOST, clip_by="parameter")
    params = jax.tree.map(lambda leaf: leaf + 1.0, grads)
    state = tx.init(params)
    for _ in range(3):
      updates, state = tx.update(grads, state, params)
      params = optax.apply_updates(params, updates)
    found.append(params)
  late, free, plain = found
  jax.tree.map(np.testing.assert_array_equal, late["encoder"], plain["encoder"])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), free, plain
  )
