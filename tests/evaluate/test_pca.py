"""PCA and standardisation beside scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import decomposition, preprocessing

from sigma_jax.evaluate.segmentation import pca


def correlated(n, d):
  """Features whose variances are apart, so that directions are determined."""
  rng = np.random.default_rng(n + d)
  mix = np.linalg.qr(rng.normal(size=(d, d)))[0]
  x = rng.normal(size=(n, d)) * 1.3 ** -np.arange(d) @ mix + 5 * rng.normal(d)
  return x.astype(np.float32)


@pytest.mark.parametrize(("n", "d", "components"), [(700, 24, 10), (60, 8, 8)])
def test_projections_are_scikit_learns_but_for_signs(n, d, components):
  x = correlated(n, d)
  theirs = decomposition.PCA(components, svd_solver="full").fit_transform(x)
  ours = np.asarray(pca.project(jnp.asarray(x), components))
  signs = np.sign((ours * theirs).sum(0))
  np.testing.assert_allclose(ours * signs, theirs, atol=2e-4)


def test_more_components_than_channels_give_all():
  x = correlated(50, 6)
  found = np.asarray(pca.project(jnp.asarray(x), 50))
  assert found.shape == (50, 6)
  centred = x - x.mean(0)
  np.testing.assert_allclose(
    np.linalg.norm(found, axis=1), np.linalg.norm(centred, axis=1), rtol=1e-4
  )


def test_fewer_rows_than_components_give_zeros():
  found = np.asarray(pca.project(jnp.asarray(correlated(3, 10)), 5))
  assert found.shape == (3, 5) and np.isfinite(found).all()
  np.testing.assert_allclose(found[:, 2:], 0, atol=1e-5)
  assert np.abs(found[:, :2]).max() > 0.1


def test_standardised_as_scikit_learn_does():
  x = correlated(200, 5)
  ours = pca.standardize(jnp.asarray(x))
  theirs = preprocessing.StandardScaler().fit_transform(x)
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_constant_channel_becomes_zero():
  x = jnp.array([[1.0, 7.0], [3.0, 7.0]])
  assert pca.standardize(x).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
