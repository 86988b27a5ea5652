"""The linear map in closed form against solving each problem by itself."""

import numpy as np
import pytest

from sigma_jax.evaluate import ridge


def problem(n, d, c=3, seed=0):
  """Standardised features with some of the labels in them."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, c, n)
  x = rng.standard_normal((n, d)) + 0.8 * rng.standard_normal((c, d))[labels]
  return ((x - x.mean(0)) / x.std(0)).astype(np.float32), labels


def solved(x, labels, test, penalty, c=3):
  """Least squares with a free intercept, as one system of equations."""
  one = np.ones((len(x), 1))
  x, test = np.float64(x), np.float64(test)
  a = np.concatenate([x, one], axis=1)
  squares = np.diag([penalty] * x.shape[1] + [0.0])
  weights = np.linalg.solve(a.T @ a + squares, a.T @ np.eye(c)[labels])
  return np.concatenate([test, np.ones((len(test), 1))], axis=1) @ weights


@pytest.mark.parametrize(("n", "d"), [(60, 7), (20, 40)])
def test_scores_are_those_of_the_whole_system(n, d):
  x, labels = problem(n + 10, d)
  x, test, labels = x[:n], x[n:], labels[:n]
  for penalty in (0.01, 1.0):
    found, used = ridge.predict(
      x, labels, test, num_classes=3, penalties=(penalty,)
    )
    assert used == penalty
    wanted = solved(x, labels, test, penalty * n)
    np.testing.assert_allclose(found, wanted, atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (15, 30)])
def test_the_penalty_is_that_of_the_least_error_left_out(n, d):
  """Each clip predicted by a map that was fitted without it."""
  x, labels = problem(n, d, seed=1)
  errors = {}
  penalties = (1e-4, 1e-2, 1e-1, 1.0, 10.0)
  for penalty in penalties:
    each = []
    for i in range(n):
      rest = np.arange(n) != i
      found = solved(x[rest], labels[rest], x[i : i + 1], penalty * n)
      each.append((found - np.eye(3)[labels[i]]) ** 2)
    errors[penalty] = np.mean(each)
  _, chosen = ridge.predict(x, labels, x, num_classes=3, penalties=penalties)
  assert chosen == min(errors, key=errors.get)


def test_a_class_without_clips_and_features_without_spread():
  x, labels = problem(30, 4)
  x[:, 2] = 0.0
  found, _ = ridge.predict(x, labels, x, num_classes=5)
  assert found.shape == (30, 5) and np.isfinite(found).all()
  assert set(found.argmax(axis=1)) <= {0, 1, 2}
