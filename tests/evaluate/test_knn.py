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
