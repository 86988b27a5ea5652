"""Both writings of the loss against float64, down to the smallest options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from sigma_jax.losses import assignment, plans, tiled

CLIPS, TUBES, WIDTH, PROTOTYPES, ROUNDS = 4, 12, 16, 14, 4


@functools.cache
def features():
  """Both sides' features and unit prototypes; some as far off as can be."""
  rng = np.random.default_rng(0)
  video, target = rng.normal(size=(2, CLIPS, TUBES, WIDTH)).astype(np.float32)
  prototypes = rng.normal(size=(PROTOTYPES, WIDTH))
  prototypes = unit(prototypes).astype(np.float32)
  video[0, 0], target[0, 0] = prototypes[0], -prototypes[0]
  target[1, 1] = -prototypes.mean(axis=0)
  return video, target, prototypes


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def plan_of(scores, epsilon):
  """float64 [tubes, k], rows of sum 1: as the published code scales."""
  log_v = np.zeros((len(scores), 1))
  for _ in range(ROUNDS):
    log_u = -special.logsumexp(scores / epsilon + log_v, axis=0)
    log_v = -special.logsumexp(scores / epsilon + log_u, axis=1, keepdims=True)
  return special.softmax(scores / epsilon + log_u, axis=1)


@functools.cache
def by_hand(epsilon, temperature, labels):
  """Loss, and gradients by video, target and prototypes, in float64."""
  video, target, prototypes = (np.float64(x) for x in features())
  x = [video.reshape(-1, WIDTH), target.reshape(-1, WIDTH)]
  scores = [unit(side) @ prototypes.T for side in x]
  wanted = [plan_of(s, epsilon) for s in scores][::-1]
  if labels == "hard":
    wanted = [np.eye(PROTOTYPES)[q.argmax(axis=1)] for q in wanted]
  loss, grads = 0.0, []
  for side, score, q in zip(x, scores, wanted, strict=True):
    log_p = special.log_softmax(score / temperature, axis=1)
    loss -= (q * log_p).sum(axis=1).mean()
    error = (np.exp(log_p) - q) / temperature / len(q)
    along, u = error @ prototypes, unit(side)
    along -= u * (along * u).sum(axis=1, keepdims=True)
    norm = np.linalg.norm(side, axis=1, keepdims=True)
    grads.append((along / norm).reshape(video.shape))
  return loss, (*grads, error.T @ u)


def plain(options):
  return lambda *arrays: assignment.loss(*arrays, **options)


def in_tiles(options, kernels):
  plan = plans.make(
    num_tubes=CLIPS * TUBES,
    num_devices=1,
    num_prototypes=PROTOTYPES,
    platform="cpu",
    kernels=kernels,
    dtype="float32",
    **options,
  )._replace(tiles=3)
  return lambda *arrays: tiled.loss(*arrays, plan)


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("kernels", ["plain", "keep", "recompute"])
@pytest.mark.parametrize(
  ("epsilon", "temperature"),
  [(0.05, 0.017), (0.05, 0.001), (0.01, 0.1), (0.005, 0.1), (0.001, 0.001)],
)
def test_as_float64(epsilon, temperature, kernels, labels):
  options = {
    **{"epsilon": epsilon, "temperature": temperature},
    **{"labels": labels, "rounds": ROUNDS},
  }
  loss = plain(options) if kernels == "plain" else in_tiles(options, kernels)
  run = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
  (found, _), grads = jax.jit(run)(*map(jnp.asarray, features()))
  wanted, wanted_grads = by_hand(epsilon, temperature, labels)
  # A score is off by 1e-7; divided by these, that is the logits' error.
  rtol = 1e-6 / min(epsilon, temperature)
  np.testing.assert_allclose(found, wanted, rtol=rtol)
  for a, b in zip(grads, wanted_grads, strict=True):
    np.testing.assert_allclose(a, b, atol=rtol * np.abs(b).max())


def test_numbers_are_kept_wherever_they_fit():
  """The published options, and those of the ablations, take the fast way."""
  for epsilon in (0.03, 0.05, 0.1):
    for temperature in (0.05, 0.1, 1.0):
      assert plans.fits(epsilon, temperature, 640 * 1408)
  assert not plans.fits(0.05, 0.017, 100)
