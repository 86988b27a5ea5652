"""The linear probe against scikit-learn."""

import numpy as np
import pytest
from scipy import special
from sklearn import linear_model

from sigma_jax.evaluate import linear

CLASSES = 3


@pytest.fixture(scope="module")
def data():
  """Overlapping classes: train, labels, test; two clips a video."""
  rng = np.random.default_rng(0)
  means = rng.normal(size=(CLASSES, 6))
  labels = rng.integers(0, CLASSES, 60).repeat(2)
  train = means[labels] + rng.normal(size=(120, 6))
  test = means[rng.integers(0, CLASSES, 40)] + rng.normal(size=(40, 6))
  return train.astype(np.float32), labels, test.astype(np.float32)


def predict(data, penalties, groups=None):
  train, labels, test = data
  groups = np.arange(60).repeat(2) if groups is None else groups
  return linear.predict(
    train, labels, test, num_classes=CLASSES, penalties=penalties, groups=groups
  )


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_agrees_with_scikit_learn(data, penalty):
  train, labels, test = data
  found, chosen = predict(data, (penalty,))
  # Theirs: C * sum of losses + |w|^2 / 2; ours: mean of losses + penalty |w|^2.
  theirs = linear_model.LogisticRegression(
    C=1 / (2 * penalty * len(train)), tol=1e-8, max_iter=5000
  ).fit(train, labels)
  assert chosen == penalty
  np.testing.assert_allclose(found, theirs.predict_proba(test), atol=2e-3)
  np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_penalty_is_chosen_on_held_out_videos(data, monkeypatch):
  """Clips of a video stay together, else the held-out ones are not new."""
  train, labels, test = data
  videos = np.arange(60).repeat(2)
  train = np.concatenate([train, videos[:, None]], axis=1).astype(np.float32)
  test = np.concatenate([test, np.zeros((40, 1))], axis=1).astype(np.float32)
  fitted = []
  fit = linear._fit

  def spy(x, *rest):
    fitted.append(x[:, -1].astype(int))
    return fit(x, *rest)

  monkeypatch.setattr(linear, "_fit", spy)
  # The larger penalty leaves weights of zero, right for one class alone.
  _, chosen = predict((train, labels, test), (1e4, 1e-3))
  assert chosen == 1e-3
  kept, everything = fitted
  np.testing.assert_array_equal(everything, videos)
  used, counts = np.unique(kept, return_counts=True)
  assert len(used) == 48 and (counts == 2).all()
  _, chosen = predict((train, labels, test), (1e-3, 1e4))
  assert chosen == 1e-3


def test_one_video_is_enough_to_run(data):
  train, labels, test = data
  probabilities, chosen = linear.predict(
    train[:2], labels[:2], test, num_classes=CLASSES, penalties=(0.1, 1.0),
    groups=np.zeros(2, int),
  )  # fmt: skip
  assert chosen == 0.1
  assert np.isfinite(probabilities).all()


def test_large_features_do_not_overflow(data):
  train, labels, test = data
  found, _ = predict((1e3 * train, labels, 1e3 * test), (1e-3,))
  assert np.isfinite(found).all()
  assert special.entr(found).sum(axis=1).max() <= np.log(CLASSES) + 1e-5
