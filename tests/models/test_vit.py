"""The video ViT: tubes, positions, and what the encoder may see."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax.models import layers, positions, vit

TUBELET, PATCH = 2, 4


@pytest.fixture(scope="module")
def encoder(tiny):
  return vit.Encoder(tiny.model, (2, 4, 4), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def tubes(tiny_video):
  return vit.split_tubes(jnp.asarray(tiny_video[:2]), TUBELET, PATCH)


def test_position_table():
  table = positions.sinusoid_table(7, 6)
  assert table.dtype == np.float32
  for position in range(7):
    for i in range(6):
      angle = position / 10000 ** (2 * (i // 2) / 6)
      wanted = math.cos(angle) if i % 2 else math.sin(angle)
      assert table[position, i] == pytest.approx(wanted, abs=1e-7)


def test_a_shorter_clip_has_the_first_rows():
  """No published table is interpolated: 4 frames have rows 0 to 391 of 16."""
  whole = positions.table("sine", 768, (8, 14, 14))
  short = positions.table("sine", 768, (2, 14, 14))
  np.testing.assert_array_equal(short, whole[:392])
  assert short[391, 6] == pytest.approx(math.sin(391 / 10000 ** (6 / 768)))
  np.testing.assert_array_equal(  # of another resolution it is the formula too
    positions.table("sine", 6, (2, 3, 5)), positions.sinusoid_table(30, 6)
  )


def test_a_given_grid_is_interpolated(tiny, tubes):
  given = (4, 2, 2)
  table = positions.table("sine", 32, (2, 4, 4), given)
  wanted = positions.interpolate_positions(
    positions.sinusoid_table(16, 32), given, (2, 4, 4)
  )
  np.testing.assert_array_equal(table, wanted)
  rows = positions.table("sine", 32, (2, 4, 4))
  np.testing.assert_array_equal(
    positions.table("sine", 32, (2, 4, 4), (2, 4, 4)), rows
  )
  model = dataclasses.replace(tiny.model, table_grid=given)
  encoder = vit.Encoder(model, (2, 4, 4), rngs=nnx.Rngs(0))
  plain = vit.Encoder(tiny.model, (2, 4, 4), rngs=nnx.Rngs(0))
  # Of no blocks, tokens differ by the tables alone.
  differ = encoder(tubes, num_blocks=0, final_norm=False) - plain(
    tubes, num_blocks=0, final_norm=False
  )
  np.testing.assert_allclose(differ[0], table - rows, atol=1e-5)


def test_split_tubes_order():
  """Tubes by (time, row, column), values by (frame, row, column, channel)."""
  shape = (2, 4, 8, 12, 3)
  video = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
  tubes = np.asarray(vit.split_tubes(jnp.asarray(video), 2, 4))
  assert tubes.shape == (2, 2 * 2 * 3, 2 * 4 * 4 * 3)
  for clip in range(2):
    number = 0
    for t in range(2):
      for h in range(2):
        for w in range(3):
          tube = video[
            clip, 2 * t : 2 * t + 2, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4
          ]
          np.testing.assert_array_equal(tubes[clip, number], tube.ravel())
          number += 1


def test_normalize_pixels():
  pixels = jnp.asarray([[0, 128, 255, 255, 0, 128]], jnp.uint8)
  mean, std = [0.485, 0.456, 0.406] * 2, [0.229, 0.224, 0.225] * 2
  wanted = (np.asarray(pixels) / 255 - mean) / std
  found = vit.normalize_pixels(pixels)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_embedding_of_chosen_tubes_is_that_of_all_gathered(encoder, tubes):
  index = jnp.asarray([[3, 0, 31, 17], [5, 6, 7, 30]], jnp.int32)
  options = {"num_blocks": 0, "final_norm": False}
  some = encoder(tubes, index, **options)
  assert some.dtype == jnp.float32
  np.testing.assert_allclose(
    some, vit.gather_tokens(encoder(tubes, **options), index), atol=1e-5
  )


def test_order_of_the_index_moves_tokens_only(encoder, tubes):
  order = np.stack([np.random.default_rng(i).permutation(32) for i in (0, 1)])
  order = jnp.asarray(order, jnp.int32)
  np.testing.assert_allclose(
    encoder(tubes, order),
    vit.gather_tokens(encoder(tubes), order),
    atol=1e-5,
  )


def test_num_blocks_and_final_norm(encoder, tubes):
  index = jnp.arange(8, dtype=jnp.int32)[None].repeat(2, axis=0)
  tokens = [
    encoder(tubes, index, num_blocks=n, final_norm=False)
    for n in (0, 1, 2, None)
  ]
  np.testing.assert_array_equal(tokens[2], tokens[3])
  for i in (0, 1):
    block = jax.tree.map(lambda leaf, i=i: leaf[i], encoder.stack.blocks)
    np.testing.assert_allclose(block(tokens[i]), tokens[i + 1], atol=1e-5)
  np.testing.assert_allclose(
    encoder(tubes, index), encoder.norm(tokens[3]), atol=1e-6
  )


def test_masked_pixels_are_never_seen(encoder, tubes):
  visible = jnp.asarray([[0, 5, 9], [1, 2, 31]], jnp.int32)
  hidden = np.ones((2, 32, 1), bool)
  hidden[[[0], [1]], np.asarray(visible)] = False
  run = jax.jit(encoder)
  before = run(tubes, visible)
  changed = jnp.where(hidden, np.uint8(255) - tubes, tubes)
  np.testing.assert_array_equal(run(changed, visible), before)
  # The test itself can see: a visible tube does matter.
  changed = tubes.at[0, 5, 0].add(jnp.uint8(100))
  after = run(changed, visible)
  assert (after[0] != before[0]).any()
  np.testing.assert_array_equal(after[1], before[1])


def test_attention_has_a_bias_on_query_and_value_only():
  attention = layers.Attention(8, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  _, params = nnx.split(attention)
  names = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(params)}
  assert names == {
    "qkv.kernel", "q_bias", "v_bias", "proj.kernel", "proj.bias",
  }  # fmt: skip


def test_attention_by_hand():
  attention = layers.Attention(8, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  rng = np.random.default_rng(0)
  bias = rng.normal(size=(2, 8)).astype(np.float32)
  attention.q_bias[...], attention.v_bias[...] = bias[0], bias[1]
  x = rng.normal(size=(1, 5, 8)).astype(np.float32)
  q, k, v = np.split(x[0] @ np.asarray(attention.qkv.kernel[...]), 3, axis=1)
  q, v = q + bias[0], v + bias[1]
  heads = []
  for head in (slice(0, 4), slice(4, 8)):
    logits = q[:, head] @ k[:, head].T * 4**-0.5
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    heads.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, head])
  wanted = np.concatenate(heads, axis=1) @ np.asarray(attention.proj.kernel)
  np.testing.assert_allclose(attention(jnp.asarray(x))[0], wanted, atol=1e-5)


def test_blocks_of_a_stack_start_differently(encoder):
  kernel = encoder.stack.blocks.mlp.fc1.kernel[...]
  assert kernel.shape == (2, 32, 128)
  assert (kernel[0] != kernel[1]).mean() > 0.99
  # Xavier-uniform of one block, not of the stack: limit sqrt(6 / (in + out)).
  limit = math.sqrt(6 / (32 + 128))
  assert limit * 0.98 < float(jnp.abs(kernel).max()) <= limit


def test_decoder_returns_the_masked_tubes_in_their_order(tiny):
  decoder = vit.Decoder(tiny.model, (2, 4, 4), 16, rngs=nnx.Rngs(0))
  rng = np.random.default_rng(0)
  tokens = jnp.asarray(rng.normal(size=(1, 3, 32)), jnp.float32)
  visible = jnp.asarray([[0, 5, 9]], jnp.int32)
  masked = jnp.asarray([[1, 2, 3, 30]], jnp.int32)
  run = jax.jit(decoder)
  out = run(tokens, visible, masked)
  assert out.shape == (1, 4, 16)
  np.testing.assert_allclose(
    run(tokens, visible, masked[:, ::-1]), out[:, ::-1], atol=1e-5
  )
  # Positions are told apart, although all mask tokens are one vector.
  assert (jnp.std(out, axis=1) > 1e-3).any()


def test_bfloat16_is_used_in_products_alone(tiny, usual_promotion):
  model = dataclasses.replace(tiny.model, dtype="bfloat16")
  encoder = vit.Encoder(model, (2, 4, 4), rngs=nnx.Rngs(0))
  assert {x.dtype for x in jax.tree.leaves(encoder)} == {jnp.dtype("float32")}
  tubes = jnp.zeros((1, 32, 96), jnp.uint8)
  jaxpr = str(jax.make_jaxpr(lambda x: encoder(x))(tubes))
  products = [line for line in jaxpr.splitlines() if " dot_general[" in line]
  wide = [line for line in products if "bf16[" not in line.split("=")[0]]
  assert len(products) == 7  # embedding, qkv, scores, values, proj, two of MLP
  assert len(wide) == 1  # the scores of attention, for a float32 softmax
  for name in (" rsqrt ", " exp ", " reduce_max["):
    lines = [line for line in jaxpr.splitlines() if name in line]
    assert lines and not any("bf16[" in line.split("=")[0] for line in lines)
