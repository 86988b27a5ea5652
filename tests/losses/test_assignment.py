"""SIGMA's loss and its gradients against formulas written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from sigma_jax.losses import assignment, sinkhorn

OPTIONS = {"epsilon": 0.05, "rounds": 3, "temperature": 0.1}
CLIPS, TUBES, WIDTH, PROTOTYPES = 3, 10, 6, 5


@pytest.fixture(scope="module")
def case():
  """Features of both sides and unit prototypes, float32."""
  rng = np.random.default_rng(0)
  video, target = rng.normal(size=(2, CLIPS, TUBES, WIDTH)).astype(np.float32)
  prototypes = rng.normal(size=(PROTOTYPES, WIDTH)).astype(np.float32)
  return video, target, unit(prototypes)


@pytest.fixture(scope="module", params=["hard", "soft"])
def solved(request, case):
  """The kind of labels, the loss and its gradients by all three arguments."""

  @jax.jit
  def run(*arrays):
    def loss(*arrays):
      return assignment.loss(*arrays, labels=request.param, **OPTIONS)

    return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*arrays)

  (loss, sides), grads = run(*case)
  return request.param, loss, sides, grads


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def labels_of(scores, kind):
  """float64 [tubes, k]: the plan of `test_sinkhorn`, or its argmax."""
  log_u = sinkhorn.potential(jnp.asarray(scores, jnp.float32), 0.05, 3)
  plan = special.softmax(scores / 0.05 + np.asarray(log_u), axis=-1)
  return np.eye(plan.shape[1])[plan.argmax(axis=1)] if kind == "hard" else plan


def by_hand(case, kind):
  """Loss, and gradients by video, target features and prototypes."""
  video, target, prototypes = (np.float64(x) for x in case)
  x = {"video": video.reshape(-1, WIDTH), "target": target.reshape(-1, WIDTH)}
  scores = {side: unit(x[side]) @ prototypes.T for side in x}
  wanted = {
    "video": labels_of(scores["target"], kind),
    "target": labels_of(scores["video"], kind),
  }
  loss, grads = 0.0, {}
  for side in x:
    log_p = special.log_softmax(scores[side] / 0.1, axis=-1)
    loss -= (wanted[side] * log_p).sum(axis=1).mean()
    error = (np.exp(log_p) - wanted[side]) / 0.1 / len(log_p)
    along = error @ prototypes
    u = unit(x[side])
    along -= u * (along * u).sum(axis=1, keepdims=True)
    norm = np.linalg.norm(x[side], axis=1, keepdims=True)
    grads[side] = (along / norm).reshape(video.shape)
    if side == "target":
      grads["prototypes"] = error.T @ u
  return loss, (grads["video"], grads["target"], grads["prototypes"])


def test_loss_is_the_cross_entropy_written_out(case, solved):
  kind, loss, _, _ = solved
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, by_hand(case, kind)[0], rtol=1e-5)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["video", "target", "protos"])
def test_gradients_pass_predictions_alone(case, solved, which):
  """No gradient through assignments, nor from the video side to prototypes."""
  kind, _, _, grads = solved
  wanted = by_hand(case, kind)[1][which]
  np.testing.assert_allclose(
    grads[which], wanted, atol=2e-5 * np.abs(wanted).max()
  )


def test_sides_are_returned_in_order(case, solved):
  _, _, sides, _ = solved
  for features, side in zip(case[:2], sides, strict=True):
    scores = unit(features) @ case[2].T
    np.testing.assert_allclose(side.scores, scores, atol=1e-6)
    assert side.labels.shape == (CLIPS, TUBES)
    assert side.labels.dtype == jnp.int32


def test_hard_and_soft_labels_differ(case):
  hard, soft = (by_hand(case, kind)[0] for kind in ("hard", "soft"))
  assert abs(hard - soft) > 1e-3


def test_normalize_is_safe_at_zero():
  x = jnp.zeros((2, 4), jnp.float32).at[1].set(3.0)
  np.testing.assert_allclose(
    assignment.normalize(x), [[0] * 4, [0.5] * 4], rtol=1e-6
  )
  grad = jax.grad(lambda x: jnp.sum(assignment.normalize(x)[:, 0]))(x)
  assert np.isfinite(grad).all()
