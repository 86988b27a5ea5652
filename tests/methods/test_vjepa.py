"""V-JEPA's step: what it may depend on, and how its collapse is told."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.methods import vjepa
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps

DECAY = 0.9


@pytest.fixture(scope="module", name="small")
def small_fixture(tiny, change):
  """Two kinds of masks of 2 x 4 x 4 tubes."""
  run = change(
    tiny,
    model__positions="sine_3d",
    model__init="vjepa",
    model__encoder_depth=1,
  )
  options = vjepa.Options(
    blocks=(3, 1),
    areas=(0.15, 0.5),
    context=(12, 8),
    targets=(6, 12),
    momentum=DECAY,
    momentum_end=DECAY,
  )
  return dataclasses.replace(run, method=options)


def options(run, **changes):
  return dataclasses.replace(
    run, method=dataclasses.replace(run.method, **changes)
  )


@functools.cache
def start(run, devices=1, fsdp=1):
  """The compiled step and a fresh state."""
  mesh = mesh_lib.make(settings_lib.Mesh(-1, fsdp), jax.devices()[:devices])
  tx = optax.sgd(0.1)
  make = steps.pretrain_step(run, tx, lambda step: step.astype("float32"), mesh)
  return jax.jit(make), state_lib.create(run, tx, mesh), mesh


def take(run, video, **where):
  step, state, mesh = start(run, **where)
  batch = mesh_lib.put_batch({"video": video}, mesh)
  return state, *step(state, {}, batch)


def same(one, other, atol=1e-6):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=atol),
    jax.device_get(one),
    jax.device_get(other),
  )


def test_one_device_is_eight(small, tiny_video):
  _, one, metrics = take(small, tiny_video)
  _, many, others = take(small, tiny_video, devices=8, fsdp=2)
  same(one.params, many.params)
  same(one.slow, many.slow)
  for name, value in metrics.items():
    np.testing.assert_allclose(others[name], value, rtol=1e-4, err_msg=name)


def test_accumulating_is_the_step_of_the_whole_batch(small, tiny_video, change):
  _, one, metrics = take(small, tiny_video)
  _, parts, others = take(change(small, train__accumulate=4), tiny_video)
  same(one.params, parts.params)
  np.testing.assert_allclose(others["loss"], metrics["loss"], rtol=1e-5)


def test_the_slow_encoder_follows_after_the_step(small, tiny_video):
  before, after, _ = take(small, tiny_video)
  same(before.slow["encoder"], before.params["encoder"], 0)
  wanted = jax.tree.map(
    lambda old, new: DECAY * old + (1 - DECAY) * new,
    *(x["encoder"] for x in (before.slow, after.params)),
  )
  same(after.slow["encoder"], wanted, 1e-7)
  run = options(small, momentum=0.0, momentum_end=0.0)
  _, found, _ = take(run, tiny_video)
  same(found.slow["encoder"], found.params["encoder"], 0)


def test_bfloat16_is_near(small, tiny_video, change, usual_promotion):
  _, exact, metrics = take(small, tiny_video)
  half = change(small, model__dtype="bfloat16")
  _, near, others = take(half, tiny_video)
  np.testing.assert_allclose(others["loss"], metrics["loss"], rtol=2e-2)
  for leaf in jax.tree.leaves((near.params, near.slow)):
    assert leaf.dtype == np.float32
  same(exact.slow, near.slow, 1e-2)


class WithoutSlowTarget(vjepa.VJepa):
  """The target is what is trained, and gradients go through it."""

  def features(self, weights, inputs):
    tubes, masks = inputs
    networks = self.networks(weights.params, {})
    found = vjepa.features(networks, networks.encoder, tubes, masks, [0, 1])
    every = networks.encoder(tubes)
    normal = vjepa.latent.normalize(every)
    return found | {
      "target": [
        vjepa.vit.gather_tokens(normal, mask.targets) for mask in masks
      ]
    }


@pytest.mark.parametrize("kind", [vjepa.VJepa, WithoutSlowTarget])
def test_a_collapse_is_told(small, kind):
  """Targets that gradients go through lose what tells clips apart."""
  tx = optax.adam(3e-3)
  make = steps.pretrain_step(
    small, tx, lambda step: step.astype("float32"), method=kind(small)
  )
  step = jax.jit(make, donate_argnums=0)
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  state, figures = state_lib.create(small, tx, mesh), []
  rng = np.random.default_rng(0)
  for _ in range(120):
    # Clips that differ in brightness and colour, so that tokens tell clips.
    colour = rng.integers(0, 256, (8, 1, 1, 1, 3))
    noise = rng.integers(-30, 31, (8, 4, 16, 16, 3))
    video = np.clip(colour + noise, 0, 255).astype(np.uint8)
    state, metrics = step(state, {}, {"video": video})
    figures.append({name: float(x) for name, x in metrics.items()})
  signs = kind(small).signs(120, figures[0], figures[-1])
  if kind is vjepa.VJepa:
    assert not signs
  else:
    assert "target_std" in signs
    assert "raise method.momentum" in signs["target_std"]
  assert jnp.isfinite(figures[-1]["loss"])
