"""Accuracy with its uncertainty."""

import numpy as np


def top1(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Whether each clip is right: bool [n] of float [n, c] and int [n]."""
  return np.argmax(probabilities, axis=1) == labels


def bootstrap_interval(
  correct: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, float]:
  """95% interval of the mean, resampling clips.

  Args:
    correct: bool [n].
    resamples: draws of n clips with replacement.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  # The number of right clips in a resample is binomial; no need to draw rows.
  means = rng.binomial(len(correct), correct.mean(), resamples) / len(correct)
  low, high = np.percentile(means, [2.5, 97.5])
  return float(low), float(high)


def bootstrap_mean(
  values: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, float]:
  """As `bootstrap_interval`, of one number a clip: float [n]."""
  rng = np.random.default_rng(seed)
  draws = rng.integers(0, len(values), (resamples, len(values)))
  low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
  return float(low), float(high)
