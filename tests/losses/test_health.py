"""Health figures by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax.losses import health


@pytest.mark.parametrize(
  ("labels", "perplexity", "used"),
  [
    ([[0, 1], [2, 3]], 4.0, 1.0),
    ([[3, 3], [3, 3]], 1.0, 0.25),
    ([[0, 0], [1, 1]], 2.0, 0.5),
    # p = 3/4, 1/4: exp(3/4 log 4/3 + 1/4 log 4) = 4 / 3^0.75
    ([[2, 2], [2, 0]], 4 / 3**0.75, 0.5),
  ],
)
def test_prototype_usage(labels, perplexity, used):
  found = health.prototype_usage(jnp.asarray(labels, jnp.int32), 4)
  np.testing.assert_allclose(found["perplexity"], perplexity, rtol=1e-6)
  np.testing.assert_allclose(found["used"], used)


def test_agreement():
  a = jnp.asarray([[0, 1, 2], [3, 4, 5]], jnp.int32)
  b = jnp.asarray([[0, 1, 0], [3, 0, 0]], jnp.int32)
  np.testing.assert_allclose(health.agreement(a, b), 0.5)
  np.testing.assert_allclose(health.agreement(a, a), 1.0)


def test_feature_std():
  # Dimension 0: 0, 2, 4, 6 -> sqrt(5); dimension 1: constant -> 0.
  features = jnp.asarray([[[0, 7], [2, 7]], [[4, 7], [6, 7]]], jnp.float32)
  np.testing.assert_allclose(
    health.feature_std(features), np.sqrt(5) / 2, rtol=1e-6
  )
  np.testing.assert_allclose(health.feature_std(features[..., 1:]), 0)
