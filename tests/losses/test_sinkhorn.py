"""Transport: properties, an independent solver, published numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from sigma_jax import settings as settings_lib
from sigma_jax.losses import sinkhorn
from sigma_jax.train import mesh as mesh_lib


def reference(scores, epsilon, rounds):
  """Both potentials in float64 -> (log_u [k], plan with rows of sum 1)."""
  kernel = scores.reshape(-1, scores.shape[-1]).astype(np.float64) / epsilon
  tubes, prototypes = kernel.shape
  log_v = np.zeros((tubes, 1))
  for _ in range(rounds):
    log_u = -np.log(prototypes) - special.logsumexp(kernel + log_v, axis=0)
    log_v = -np.log(tubes) - special.logsumexp(
      kernel + log_u, axis=1, keepdims=True
    )
  plan = np.exp(kernel + log_u + log_v)
  return log_u, plan / plan.sum(axis=1, keepdims=True)


def solve(scores, epsilon, rounds):
  scores = jnp.asarray(scores, jnp.float32)
  log_u = sinkhorn.potential(scores, epsilon, rounds)
  return np.asarray(sinkhorn.assign(scores, log_u, epsilon))


def cosines(tubes=64, prototypes=8, seed=0):
  rng = np.random.default_rng(seed)
  x, c = rng.normal(size=(tubes, 16)), rng.normal(size=(prototypes, 16))
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  c /= np.linalg.norm(c, axis=1, keepdims=True)
  return (x @ c.T).astype(np.float32)


def test_rows_sum_to_one_and_columns_become_uniform():
  scores = cosines()
  errors = []
  for rounds in (1, 3, 10, 30, 200):
    plan = solve(scores, 0.05, rounds)
    np.testing.assert_allclose(plan.sum(axis=1), 1, atol=1e-6)
    errors.append(np.abs(plan.mean(axis=0) * plan.shape[1] - 1).max())
  assert all(b < a for a, b in itertools.pairwise(errors)), errors
  assert errors[0] > 0.05
  assert errors[-1] < 1e-4


@pytest.mark.parametrize("rounds", [1, 10])
def test_order_of_tubes_and_prototypes_does_not_matter(rounds):
  scores = cosines()
  rng = np.random.default_rng(1)
  rows, columns = rng.permutation(64), rng.permutation(8)
  plan = solve(scores, 0.05, rounds)
  moved = solve(scores[rows][:, columns], 0.05, rounds)
  np.testing.assert_allclose(moved, plan[rows][:, columns], atol=2e-6)


def test_leading_axes_are_all_tubes():
  scores = cosines()
  flat = sinkhorn.potential(jnp.asarray(scores), 0.05, 3)
  clips = sinkhorn.potential(jnp.asarray(scores.reshape(4, 16, 8)), 0.05, 3)
  np.testing.assert_allclose(clips, flat, atol=1e-5)


def test_a_constant_on_all_scores_changes_nothing():
  plan = solve(cosines(), 0.05, 3)
  np.testing.assert_allclose(solve(cosines() + 2, 0.05, 3), plan, atol=1e-5)


def test_a_constant_per_tube_changes_nothing_once_converged():
  offsets = np.random.default_rng(2).uniform(-1, 1, (64, 1))
  offsets = offsets.astype(np.float32)
  plan = solve(cosines(), 0.1, 500)
  shifted = solve(cosines() + offsets, 0.1, 500)
  np.testing.assert_allclose(shifted, plan, atol=1e-4)
  # The first round weighs tubes by their scores, so a cut-off solution does
  # depend on the constants, in the published solver as well.
  assert np.abs(solve(cosines() + offsets, 0.1, 1) - plan).max() > 1e-2


@pytest.mark.parametrize("rounds", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.03, 0.05, 0.5])
def test_agrees_with_a_float64_solver(epsilon, rounds):
  scores = cosines(seed=3)
  log_u, plan = reference(scores, epsilon, rounds)
  np.testing.assert_allclose(solve(scores, epsilon, rounds), plan, atol=1e-5)
  # A constant in the potential changes no plan; its size is free.
  ours = np.asarray(sinkhorn.potential(jnp.asarray(scores), epsilon, rounds))
  np.testing.assert_allclose(
    ours - ours.mean(), log_u - log_u.mean(), atol=2e-4
  )


@pytest.mark.parametrize("rounds", [1, 3, 10])
@pytest.mark.parametrize(
  ("scale", "epsilon"),
  [(1.0, 1e-3), (1e4, 0.05), (1e4, 0.5), (1e4, 1e-3)],
)
def test_extreme_scores(scale, epsilon, rounds):
  scores = np.random.default_rng(4).uniform(-scale, scale, (40, 6))
  scores = scores.astype(np.float32)
  log_u, plan = reference(scores, epsilon, rounds)
  ours = np.asarray(sinkhorn.potential(jnp.asarray(scores), epsilon, rounds))
  found = solve(scores, epsilon, rounds)
  assert np.isfinite(ours).all() and np.isfinite(found).all()
  np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
  # A logit of 1e7 has a resolution of 1 in float32; each round may lose one.
  resolution = 4 * (2 + rounds) * np.spacing(np.float32(scale / epsilon))
  np.testing.assert_allclose(
    ours - ours.mean(), log_u - log_u.mean(), atol=max(resolution, 1e-4)
  )
  logits = np.sort(scores.astype(np.float64) / epsilon + log_u, axis=1)
  clear = logits[:, -1] - logits[:, -2] > 2 * resolution
  assert clear.sum() > 10
  labels = sinkhorn.hard_labels(jnp.asarray(scores), jnp.asarray(ours), epsilon)
  np.testing.assert_array_equal(
    np.asarray(labels)[clear], plan.argmax(axis=1)[clear]
  )


@pytest.mark.parametrize("rounds", [1, 3, 10])
@pytest.mark.parametrize("epsilon", ["0.03", "0.05", "0.5"])
def test_published_numbers(golden, epsilon, rounds):
  arrays = golden("sinkhorn").arrays
  plan = solve(arrays["scores"], float(epsilon), rounds)
  np.testing.assert_allclose(
    plan, arrays[f"q_eps{epsilon}_it{rounds}"], atol=1e-5
  )


def test_tubes_spread_over_devices_share_one_problem():
  mesh = mesh_lib.make(settings_lib.Mesh())
  assert mesh.size == 8
  scores = cosines().reshape(8, 8, 8)
  spread = jax.device_put(scores, mesh_lib.batch_sharding(mesh))
  run = jax.jit(sinkhorn.potential, static_argnums=(1, 2))
  np.testing.assert_allclose(
    run(spread, 0.05, 10), run(scores, 0.05, 10), atol=2e-6
  )


def test_hard_labels_are_the_plans_largest_entries():
  scores = jnp.asarray(cosines())
  log_u = sinkhorn.potential(scores, 0.05, 3)
  labels = sinkhorn.hard_labels(scores, log_u, 0.05)
  assert labels.dtype == jnp.int32
  np.testing.assert_array_equal(labels, solve(scores, 0.05, 3).argmax(axis=1))
  # Balance moves some tubes away from their nearest prototype.
  assert (labels != scores.argmax(axis=1)).any()


def test_bfloat16_scores_are_solved_in_float32():
  scores = jnp.asarray(cosines()).astype(jnp.bfloat16)
  log_u = sinkhorn.potential(scores, 0.05, 10)
  assert log_u.dtype == jnp.float32
  assert sinkhorn.assign(scores, log_u, 0.05).dtype == jnp.float32
  _, plan = reference(np.asarray(scores.astype(jnp.float32)), 0.05, 10)
  found = sinkhorn.assign(scores, log_u, 0.05)
  np.testing.assert_allclose(found, plan, atol=1e-5)
