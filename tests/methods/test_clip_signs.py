"""The known collapses of SwAV and DINO on clips, forced; and none without."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.losses import sinkhorn
from sigma_jax.methods import clip_dino, clip_swav, method
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps

SHARED = {
  "jitter_prob": 0.0,
  "grey_prob": 0.0,
  "blur_prob": (0.0,) * 3,
  "solarize_prob": (0.0,) * 3,
  "hidden": 16,
}
SWAV = functools.partial(clip_swav.Options, dim=8, prototypes=16, **SHARED)
DINO = functools.partial(
  clip_dino.Options,
  bottleneck=8,
  outputs=16,
  momentum=0.9,
  momentum_end=0.9,
  **SHARED,
)


def clips(rng):
  """Two views of 16 videos, which differ in colour."""
  colour = rng.integers(0, 256, (16, 1, 1, 1, 3))
  noise = rng.integers(-30, 31, (2, 16, 2, 8, 8, 3))
  first, second = np.clip(colour + noise, 0, 255).astype(np.uint8)
  return {"video": first, "second": second[:, None]}


def train(change, options, tx=None):
  """What a run's first and last steps say, and the method."""
  run = change(
    settings_lib.Settings(),
    data__num_frames=2,
    data__size=8,
    model__patch=4,
    model__encoder_dim=16,
    model__encoder_depth=1,
    model__encoder_heads=2,
    train__batch_size=16,
  )
  run = dataclasses.replace(run, method=options)
  of_run, tx = method.of(run), tx or optax.adam(3e-3)
  step = steps.pretrain_step(
    run, tx, lambda step: step.astype("float32"), method=of_run
  )
  step = jax.jit(step, donate_argnums=0)
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  state, rows = state_lib.create(run, tx, mesh), []
  rng = np.random.default_rng(0)
  for _ in range(100):
    state, metrics = step(state, {}, clips(rng))
    rows.append(metrics)
  first, last = (
    {name: float(x) for name, x in rows[place].items()} for place in (0, -1)
  )
  assert np.isfinite(last["loss"])
  return of_run, first, last


def signs(found):
  of_run, first, last = found
  return of_run.signs(100, first, last)


@pytest.mark.parametrize("options", [SWAV(), DINO()], ids=["swav", "dino"])
def test_a_healthy_run_gives_no_sign(change, options):
  assert not signs(train(change, options))


def test_swav_that_guesses_is_told(change):
  """Assignments of a large epsilon are the same of all prototypes."""
  found = train(change, SWAV(epsilon=10.0))
  told = signs(found)
  assert "lower method.epsilon" in told["uniform"]
  assert "method.queue" not in told["uniform"]
  of_run, first, last = found
  with_queue = of_run.signs(100, first, last | {"queue_full": 1.0})
  assert "make method.queue shorter" in with_queue["uniform"]
  # While prototypes are held, and in a run's first tenth, it says nothing.
  late = type(of_run)(of_run.settings, method.Length(2000, 10.0))
  assert "uniform" not in late.signs(100, first, last)
  assert "uniform" in late.signs(200, first, last)


def test_swav_with_few_prototypes_is_told(change, monkeypatch):
  """Assignments that nothing balances end at few."""
  monkeypatch.setattr(
    sinkhorn, "potential", lambda scores, *_: jnp.zeros(scores.shape[-1])
  )
  told = signs(train(change, SWAV(epsilon=0.02)))
  assert "raise method.rounds" in told["used"]


@pytest.mark.parametrize(
  ("options", "names"),
  [(SWAV(), ["std"]), (DINO(), ["embedding_std", "target_std"])],
  ids=["swav", "dino"],
)
def test_embeddings_that_become_alike_are_told(change, options, names):
  """Weight decay drives the encoder to ignore its input."""
  tx = optax.adamw(3e-3, weight_decay=300.0)
  told = signs(train(change, options, tx))
  for name in names:
    assert "lower optimizer.base_lr" in told[name]


def test_dino_that_says_the_same_of_all_outputs_is_told(change):
  """Nothing sharpens the teacher."""
  told = signs(train(change, DINO(temperature_start=5.0, temperature=5.0)))
  assert set(told) == {"uniform"}
  assert "lower method.temperature_start" in told["uniform"]


def test_dino_with_one_output_is_told(change):
  """Nothing centres the teacher."""
  options = DINO(centre_momentum=1.0, temperature_start=0.02, temperature=0.02)
  told = signs(train(change, options))
  assert set(told) == {"one"}
  assert "lower method.centre_momentum" in told["one"]
