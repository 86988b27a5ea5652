"""Accuracy and its interval."""

import numpy as np
import pytest

from sigma_jax.evaluate import scores


def test_top1():
  probabilities = np.asarray([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]])
  np.testing.assert_array_equal(
    scores.top1(probabilities, np.asarray([1, 1, 1])), [True, False, True]
  )


@pytest.mark.parametrize(("right", "total"), [(300, 1000), (20, 40)])
def test_interval_is_near_the_normal_one(right, total):
  correct = np.arange(total) < right
  p = right / total
  half = 1.96 * np.sqrt(p * (1 - p) / total)
  low, high = scores.bootstrap_interval(correct, 20000)
  assert low == pytest.approx(p - half, abs=0.03 * half + 1 / total)
  assert high == pytest.approx(p + half, abs=0.03 * half + 1 / total)
  assert scores.bootstrap_interval(correct, 20000) == (low, high)


def test_certain_results_have_no_width():
  assert scores.bootstrap_interval(np.ones(50, bool), 100) == (1.0, 1.0)
  assert scores.bootstrap_interval(np.zeros(50, bool), 100) == (0.0, 0.0)


def test_interval_of_a_mean():
  values = np.random.default_rng(0).uniform(size=200)
  half = 1.96 * values.std() / np.sqrt(200)
  low, high = scores.bootstrap_mean(values, 20000)
  assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
  assert high == pytest.approx(values.mean() + half, abs=0.05 * half)
  assert scores.bootstrap_mean(values, 20000) == (low, high)
  assert scores.bootstrap_mean(values, 20000, seed=1) != (low, high)
  assert scores.bootstrap_mean(values[:1], 100) == (values[0], values[0])
