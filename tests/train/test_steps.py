"""The pre-training step."""

import functools

import jax
import numpy as np
import optax
import pytest

from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps


@functools.cache
def start(settings):
  """The compiled step and a fresh state on one device."""
  from sigma_jax import settings as settings_lib

  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  tx = optax.sgd(0.1)
  make = steps.pretrain_step(settings, tx, lambda step: step.astype("float32"))
  step = jax.jit(make)
  return step, state_lib.create(settings, tx, mesh)


def test_metrics_and_step_number(tiny, tiny_video):
  step, state = start(tiny)
  after, metrics = step(state, {}, {"video": tiny_video})
  assert int(state.step) == 0 and int(after.step) == 1
  assert set(metrics) == {
    "loss", "learning_rate", "grad_norm", "feature_std", "target_std",
    "agreement", "perplexity", "used", "flat_tubes",
  }  # fmt: skip
  for name, value in metrics.items():
    assert value.shape == () and value.dtype == np.float32, name
    assert np.isfinite(value), name
  assert 1 <= metrics["perplexity"] <= 12


def test_a_step_is_a_function_of_state_and_batch(tiny, tiny_video):
  step, state = start(tiny)
  first = step(state, {}, {"video": tiny_video})
  again = step(state, {}, {"video": tiny_video})
  jax.tree.map(np.testing.assert_array_equal, first, again)


def test_masks_come_from_the_step_number(tiny, tiny_video):
  step, state = start(tiny)
  _, first = step(state, {}, {"video": tiny_video})
  later = state._replace(step=state.step + 1)
  _, second = step(later, {}, {"video": tiny_video})
  assert first["loss"] != second["loss"]


def test_gradients_are_taken_at_unit_prototypes(tiny, tiny_video):
  """The length of the stored prototypes has no influence at all."""
  step, state = start(tiny)
  params = {**state.params, "prototypes": 7 * state.params["prototypes"]}
  after, _ = step(state, {}, {"video": tiny_video})
  scaled, _ = step(state._replace(params=params), {}, {"video": tiny_video})
  np.testing.assert_allclose(
    scaled.params["prototypes"], after.params["prototypes"], atol=1e-5
  )
  norms = np.linalg.norm(after.params["prototypes"], axis=1)
  assert (np.abs(norms - 1) < 0.2).all()


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"loss__labels": "soft", "masking__kind": "random"},
    {"loss__kind": "l2", "target__kind": "pixel"},
  ],
  ids=["hard", "soft", "pixel"],
)
def test_the_loss_falls_on_one_batch(tiny, tiny_video, change, changes):
  step, state = start(change(tiny, **changes))
  losses = []
  for _ in range(15):
    state, metrics = step(state, {}, {"video": tiny_video})
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-3:]) < 0.97 * losses[0], losses


def test_l2_is_the_mean_square(tiny, tiny_video, change):
  """VideoMAE on noise: standardised pixels against a small prediction."""
  settings = change(tiny, loss__kind="l2", target__kind="pixel")
  step, state = start(settings)
  _, metrics = step(state, {}, {"video": tiny_video})
  assert "perplexity" not in metrics
  assert 0.9 < metrics["loss"] < 2.5
  # Standardised pixels: deviation sqrt(31 / 32) over a tube's 32 values.
  assert metrics["target_std"] == pytest.approx(np.sqrt(31 / 32), abs=0.02)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"loss__labels": "soft", "masking__kind": "random"},
    {"loss__kind": "l2", "target__kind": "pixel"},
  ],
  ids=["hard", "soft", "pixel"],
)
@pytest.mark.parametrize("parts", [2, 8])
def test_accumulating_is_the_step_of_the_whole_batch(
  tiny, tiny_video, change, changes, parts
):
  """Assignments are global: the parts' own would give another loss."""
  tiny = change(tiny, **changes)
  step, state = start(tiny)
  whole, metrics = step(state, {}, {"video": tiny_video})
  step, _ = start(change(tiny, train__accumulate=parts))
  summed, same = step(state, {}, {"video": tiny_video})
  assert set(metrics) == set(same)
  for name, value in metrics.items():
    np.testing.assert_allclose(same[name], value, rtol=1e-5, err_msg=name)
  for (path, a), b, before in zip(
    jax.tree.leaves_with_path(whole.params),
    *map(jax.tree.leaves, (summed.params, state.params)),
    strict=True,
  ):
    # The difference of float32 parameters is their gradient.
    change_of = np.abs(np.asarray(a) - before).max()
    np.testing.assert_allclose(
      b, a, atol=2e-4 * change_of + 5e-7, err_msg=jax.tree_util.keystr(path)
    )


def test_accumulating_needs_the_memory_of_a_part(tiny, change):
  """Scratch memory of a step of 64 clips, whole and in 8 parts."""

  def scratch(parts):
    settings = change(tiny, train__accumulate=parts)
    step, state = start(settings)
    video = jax.ShapeDtypeStruct((64, 4, 16, 16, 3), np.uint8)
    compiled = step.lower(state, {}, {"video": video}).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert scratch(8) < 0.5 * scratch(1)
