"""Pooled features: each clip once, whatever the batches and devices."""

import jax
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features
from sigma_jax.models import sigma
from sigma_jax.train import mesh as mesh_lib


@pytest.fixture(scope="module")
def params(tiny):
  return jax.jit(lambda: sigma.init_params(tiny, jax.random.key(0)))()


@pytest.fixture(scope="module")
def videos():
  return np.random.default_rng(1).integers(0, 256, (11, 4, 16, 16, 3), np.uint8)


def batches(videos, size):
  """In batches of `size`, the last one padded; clip 3 could not be read."""
  for start in range(0, len(videos), size):
    rows = np.arange(start, start + size)
    valid = (rows < len(videos)) & (rows != 3)
    video = videos[np.minimum(rows, len(videos) - 1)].copy()
    video[~valid] = 0
    index = np.where(rows < len(videos), 100 + rows, -1).astype(np.int32)
    yield {"video": video, "index": index, "valid": valid}


def mesh_of(count):
  return mesh_lib.make(settings_lib.Mesh(), jax.devices()[:count])


def extract(settings, params, batches, mesh, layer=0):
  return features.extract(
    settings, {"it": params["encoder"]}, batches, mesh, layer
  )["it"]


@pytest.fixture(scope="module")
def alone(tiny, params, videos):
  return extract(tiny, params, batches(videos, 1), mesh_of(1))


def test_features_are_the_mean_of_the_tokens(tiny, params, videos, alone):
  graph = sigma.abstract(tiny).graph
  model = sigma.merge(graph, params)
  tokens = jax.jit(lambda v: model.encode(v, final_norm=False))(videos)
  wanted = np.delete(np.asarray(tokens).mean(axis=1), 3, axis=0)
  np.testing.assert_allclose(alone.features, wanted, atol=1e-5)


def test_tokens_after_the_last_norm(tiny, change, params, videos):
  """As V-JEPA's are used; its weights are moved off 1 and 0 to show."""
  normed = change(tiny, model__pool_normed=True)
  draw = np.random.default_rng(2).normal
  params = dict(params, encoder=dict(params["encoder"]))
  params["encoder"]["norm"] = jax.tree.map(
    lambda x: x + draw(size=x.shape).astype(x.dtype), params["encoder"]["norm"]
  )
  found = extract(normed, params, batches(videos, 4), mesh_of(1))
  model = sigma.merge(sigma.abstract(tiny).graph, params)
  tokens = jax.jit(lambda v: model.encode(v, final_norm=True))(videos)
  wanted = np.delete(np.asarray(tokens).mean(axis=1), 3, axis=0)
  np.testing.assert_allclose(found.features, wanted, atol=1e-5)
  plain = extract(tiny, params, batches(videos, 4), mesh_of(1))
  assert np.abs(found.features - plain.features).max() > 0.1


def test_invalid_rows_are_dropped(alone):
  np.testing.assert_array_equal(alone.rows, [100, 101, 102, *range(104, 111)])
  assert alone.features.shape == (10, 32)


@pytest.mark.parametrize(("size", "devices"), [(4, 1), (8, 8), (16, 8)])
def test_batch_size_and_devices_change_nothing(
  tiny, params, videos, alone, size, devices
):
  found = extract(tiny, params, batches(videos, size), mesh_of(devices))
  np.testing.assert_array_equal(found.rows, alone.rows)
  np.testing.assert_allclose(found.features, alone.features, atol=1e-5)


def test_several_encoders_see_the_clips_once(tiny, params, videos, alone):
  other = jax.tree.map(lambda x: 2 * x, params)
  seen = iter(batches(videos, 4))
  both = features.extract(
    tiny, {"one": params["encoder"], "two": other["encoder"]}, seen, mesh_of(1)
  )
  assert next(seen, None) is None
  np.testing.assert_allclose(both["one"].features, alone.features, atol=1e-5)
  again = extract(tiny, other, batches(videos, 4), mesh_of(1))
  np.testing.assert_array_equal(both["two"].features, again.features)


def test_layer(tiny, params, videos, alone):
  mesh = mesh_of(1)
  all_blocks = extract(tiny, params, batches(videos, 11), mesh, 2)
  np.testing.assert_allclose(all_blocks.features, alone.features, atol=1e-5)
  first = extract(tiny, params, batches(videos, 11), mesh, 1)
  assert np.abs(first.features - alone.features).max() > 1e-2


def test_standardisation_uses_the_training_set_alone():
  rng = np.random.default_rng(0)
  train = rng.normal(5, 3, (50, 4)).astype(np.float32)
  train[:, 3] = 7  # a dead dimension
  test = rng.normal(-1, 1, (20, 4)).astype(np.float32)
  x, y = features.standardize(train, test)
  np.testing.assert_allclose(x[:, :3].mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(x[:, :3].std(axis=0), 1, atol=1e-4)
  wanted = (test - train.mean(axis=0)) / (train.std(axis=0) + 1e-6)
  np.testing.assert_allclose(y, wanted, rtol=1e-5)
  assert np.isfinite(x).all() and np.isfinite(y).all()
  one, _ = features.standardize(train, 10 * test)
  np.testing.assert_array_equal(one, x)
  _, first = features.standardize(train, test[:1])
  np.testing.assert_array_equal(first, y[:1])
