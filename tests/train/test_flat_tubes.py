"""Black bars and frames: gradients stay of their size; tubes are counted."""

import jax
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma, variants
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps


def with_bars(video, colour):
  """A quarter of the height above and below: half of the tubes."""
  video = video.copy()
  video[:, :, :4] = video[:, :, -4:] = colour
  return video


def with_black_frames(video):
  """One clip of eight is black, of another the first half of its frames."""
  video = video.copy()
  video[0] = 0
  video[1, :2] = 0
  return video


@pytest.fixture(name="grad_norm")
def grad_norm_fixture(monkeypatch, tiny, change):
  """`grad_norm(video, **changes)`: the first step's, and the share of flat."""
  options = {"dim": 24, "depth": 1, "heads": 2, "patch": 4, "grid": 4}
  model = variants.ImageModel(**options, file="", hub="")
  monkeypatch.setitem(variants.IMAGE_MODELS, "small", model)
  names = (*settings_lib.TEACHERS, "small")
  monkeypatch.setattr(settings_lib.model, "TEACHERS", names)

  def make(**changes):
    settings = change(tiny, **changes)
    tx = optax.sgd(0.1)
    mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
    step = jax.jit(
      steps.pretrain_step(settings, tx, lambda step: step.astype("float32"))
    )
    state = state_lib.create(settings, tx, mesh)
    rng = np.random.default_rng(0)
    frozen = jax.tree.map(
      lambda x: (0.2 * rng.standard_normal(x.shape)).astype(x.dtype),
      sigma.abstract(settings).frozen,
    )

    def run(video):
      metrics = step(state, frozen, {"video": video})[1]
      return float(metrics["grad_norm"]), float(metrics["flat_tubes"])

    return run

  return make


@pytest.mark.parametrize(
  "changes",
  [
    {"model__init": "published"},
    {"model__init": "xavier"},
    {"model__init": "xavier", "loss__labels": "soft"},
    {"model__init": "xavier", "loss__kind": "l2"},
    {"target__kind": "pixel", "loss__kind": "l2"},
    {"target__kind": "dino", "target__variant": "small"},
  ],
  ids=["mlp", "xavier", "soft", "l2", "pixel", "dino"],
)
def test_gradients_are_at_most_twice_those_without(
  grad_norm, tiny_video, changes
):
  run = grad_norm(**changes)
  plain, flat = run(tiny_video)
  assert flat == 0
  for colour in (0, 16, 128):
    bars, flat = run(with_bars(tiny_video, colour))
    assert flat == 0.5
    assert bars < 2 * plain, colour
  black, flat = run(with_black_frames(tiny_video))
  assert flat == 1.5 / 8
  assert black < 2 * plain


@pytest.mark.parametrize("init", ["published", "xavier"])
def test_a_batch_of_black_clips_is_bounded(grad_norm, tiny_video, init):
  """All tubes have one label then, and agree on where to go."""
  run = grad_norm(model__init=init)
  black, flat = run(np.zeros_like(tiny_video))
  assert flat == 1
  assert black < 5 * run(tiny_video)[0]
