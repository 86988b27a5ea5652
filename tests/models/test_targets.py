"""Projection networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from sigma_jax.models import targets, vit


def test_normalize_tubes_by_hand():
  tubes = np.random.default_rng(0).integers(0, 256, (2, 3, 24), np.uint8)
  pixels = tubes.reshape(2, 3, 8, 3) / 255.0
  wanted = pixels - pixels.mean(axis=2, keepdims=True)
  wanted /= pixels.std(axis=2, ddof=1, keepdims=True) + 1e-6
  found = targets.normalize_tubes(jnp.asarray(tubes))
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, wanted.reshape(2, 3, 24), atol=1e-5)


def test_a_constant_tube_becomes_zeros():
  for value in (0, 128, 255):
    tubes = jnp.full((1, 1, 96), value, jnp.uint8)
    found = targets.normalize_tubes(tubes)
    # A mean of equal float32 values is off by rounding; the std's 1e-6 keeps
    # it small.
    np.testing.assert_allclose(found, 0, atol=0.2)


def test_published_target_pixels(golden):
  """The first two masked tubes of the first clip."""
  arrays = golden("pretrain_mlp").arrays
  tubes = vit.split_tubes(jnp.asarray(arrays["video"][:1]), 2, 16)
  first = jnp.asarray(np.flatnonzero(arrays["mask"][0])[None, :2], jnp.int32)
  found = targets.PixelTarget(1536)(tubes, first)[0]
  np.testing.assert_allclose(found, arrays["target_first"], atol=2e-5)


def test_mlp_by_hand():
  target = targets.MlpTarget(
    24, (5, 7), 3, init="published", dtype=jnp.float32, rngs=nnx.Rngs(0)
  )
  tubes = np.random.default_rng(0).integers(0, 256, (2, 4, 24), np.uint8)
  masked = np.asarray([[1, 3], [0, 2]], np.int32)
  x = np.asarray(targets.normalize_tubes(jnp.asarray(tubes)))
  x = np.stack([x[0, [1, 3]], x[1, [0, 2]]])
  for i, layer in enumerate(target.layers):
    x = x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
    if i < 2:
      x = 0.5 * x * (1 + special.erf(x / np.sqrt(2)))
  found = target(jnp.asarray(tubes), jnp.asarray(masked))
  np.testing.assert_allclose(found, x, atol=1e-5)


def test_pixel_target_has_no_weights(tiny, change):
  settings = change(tiny, target__kind="pixel", loss__kind="l2")
  target = targets.build(settings, rngs=nnx.Rngs(0))
  assert target.dim == 2 * 4 * 4 * 3
  assert not nnx.to_flat_state(nnx.split(target, nnx.Param)[1])


def test_flat_tubes():
  tubes = np.random.default_rng(0).integers(0, 256, (2, 3, 24), np.uint8)
  tubes[0, 1] = 16
  tubes[1, 0] = np.tile([10, 20, 30], 8)  # one colour, three channels
  tubes[1, 2, ::3] = 5  # red alone does not vary
  np.testing.assert_array_equal(
    targets.is_flat(jnp.asarray(tubes)),
    [[False, True, False], [True, False, False]],
  )


@pytest.mark.parametrize("init", ["published", "xavier"])
def test_flat_tubes_train_the_mlp_where_the_published_code_has_biases(init):
  target = targets.MlpTarget(
    24, (5,), 3, init=init, dtype=jnp.float32, rngs=nnx.Rngs(0)
  )
  graph, params = nnx.split(target)
  tubes = np.random.default_rng(0).integers(0, 256, (1, 2, 24), np.uint8)
  tubes[0, 1] = 128
  tubes = jnp.asarray(tubes)

  def gradient(place):
    masked = jnp.asarray([[place]], jnp.int32)
    return jax.grad(
      lambda params: jnp.sum(nnx.merge(graph, params)(tubes, masked))
    )(params)

  varied, flat = (
    any(np.any(np.asarray(x)) for x in jax.tree.leaves(gradient(place)))
    for place in (0, 1)
  )
  assert varied
  assert flat == (init == "published")
