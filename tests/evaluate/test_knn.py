"""k nearest neighbours against brute force."""

import numpy as np
import pytest

from sigma_jax.evaluate import knn


def brute_force(bank, labels, test, num_classes, k, temperature):
  bank = bank / np.linalg.norm(bank, axis=1, keepdims=True)
  test = test / np.linalg.norm(test, axis=1, keepdims=True)
  out = np.zeros((len(test), num_classes))
  for i, similarity in enumerate(test @ bank.T):
    nearest = np.argsort(-similarity)[:k]
    for j in nearest:
      out[i, labels[j]] += np.exp(similarity[j] / temperature)
  return out / out.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 5, 40, 1000])
def test_agrees_with_brute_force(k, monkeypatch):
  monkeypatch.setattr(knn, "_CHUNK", 7)  # 25 queries: not a multiple
  rng = np.random.default_rng(0)
  bank = rng.normal(size=(40, 8)).astype(np.float32)
  test = rng.normal(size=(25, 8)).astype(np.float32)
  labels = rng.integers(0, 4, 40)
  found = knn.predict(bank, labels, test, num_classes=5, k=k, temperature=0.07)
  assert found.dtype == np.float32
  np.testing.assert_allclose(
    found, brute_force(bank, labels, test, 5, k, 0.07), atol=1e-5
  )
  assert (found[:, 4] == 0).all()


def test_a_zero_feature_does_no_harm():
  bank = np.eye(3, dtype=np.float32)
  found = knn.predict(
    bank, np.arange(3), np.zeros((1, 3), np.float32), num_classes=3, k=3,
    temperature=0.07,
  )  # fmt: skip
  np.testing.assert_allclose(found, 1 / 3, atol=1e-6)


@pytest.fixture
def tied():
  """Thirty features, each there four times, with labels of their own."""
  rng = np.random.default_rng(3)
  bank = rng.normal(size=(30, 8)).astype(np.float32).repeat(4, axis=0)
  test = rng.normal(size=(9, 8)).astype(np.float32)
  return bank, rng.integers(0, 6, 120), test


@pytest.mark.parametrize("k", [1, 6, 50, 120])
def test_the_order_of_the_bank_does_not_matter(tied, k):
  bank, labels, test = tied
  found = knn.predict(bank, labels, test, num_classes=6, k=k, temperature=0.07)
  for seed in range(4):
    order = np.random.default_rng(seed).permutation(120)
    again = knn.predict(
      bank[order], labels[order], test, num_classes=6, k=k, temperature=0.07
    )
    np.testing.assert_array_equal(again, found)


def test_what_ties_for_the_last_place_shares_it():
  """Of five places two are taken; three are shared by four of one cosine."""
  near, far = [1.0, 0.0], [0.6, 0.8]
  bank = np.asarray([far, near, far, near, far, far, [0, 1.0]], np.float32)
  labels = np.asarray([1, 0, 2, 0, 2, 3, 4])
  # Other lengths, as rounding would have it, and the same directions.
  bank *= np.asarray([[3], [7], [0.1], [11], [1.7], [13], [1]], np.float32)
  found = knn.predict(
    bank, labels, np.asarray([[2.0, 0.0]], np.float32), num_classes=5, k=5,
    temperature=0.5,
  )  # fmt: skip
  weight = np.exp((0.6 - 1) / 0.5)
  votes = np.asarray([[2, 0.75 * weight, 1.5 * weight, 0.75 * weight, 0]])
  np.testing.assert_allclose(found, votes / votes.sum(), rtol=1e-5)


def test_a_collapsed_encoder_votes_for_the_largest_class():
  labels = np.asarray([2] * 3 + [0] * 5 + [1] * 4)
  found = knn.predict(
    np.ones((12, 4), np.float32), labels, np.ones((3, 4), np.float32),
    num_classes=3, k=3, temperature=0.07,
  )  # fmt: skip
  np.testing.assert_allclose(found, [[5 / 12, 4 / 12, 3 / 12]] * 3, rtol=1e-5)


def test_one_clip_in_the_bank():
  found = knn.predict(
    np.ones((1, 4), np.float32), np.asarray([2]), -np.ones((2, 4), np.float32),
    num_classes=3, k=200, temperature=0.07,
  )  # fmt: skip
  np.testing.assert_allclose(found, [[0, 0, 1]] * 2)
