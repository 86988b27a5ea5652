"""Nothing that a step draws shares its key with anything else."""

import collections
import dataclasses
import functools
import sys

import jax
import numpy as np
import optax
import pytest

from sigma_jax import keys
from sigma_jax.augment import randaugment, views
from sigma_jax.methods import clip_dino, method
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps, supervised

SAMPLERS = ("uniform", "normal", "bernoulli", "randint", "beta", "bits")
DERIVED = ("fold_in", "split")


def place():
  """Where in sigma_jax a draw was asked for, but for `keys` itself."""
  frame = sys._getframe(2)
  while frame is not None:
    name = frame.f_code.co_filename
    if "sigma_jax/" in name and not name.endswith("keys.py"):
      return f"{name.rsplit('/', 1)[1]}:{frame.f_lineno}"
    frame = frame.f_back
  return "?"


@pytest.fixture
def used(monkeypatch):
  """Key -> list of (function of jax.random, where), filled as steps run."""
  found = collections.defaultdict(list)

  def note(what, data):
    found[tuple(np.asarray(data).ravel().tolist())].append(what)

  def wrap(name, real):
    def noted(key, *args, **kwargs):
      data = jax.random.key_data(key)
      jax.debug.callback(functools.partial(note, (name, place())), data)
      return real(key, *args, **kwargs)

    return noted

  for name in SAMPLERS + DERIVED:
    wrapped = wrap(name, getattr(jax.random, name))
    monkeypatch.setattr(jax.random, name, wrapped)
  # What is drawn counts here; its pictures take seconds to compile.
  monkeypatch.setattr(randaugment, "apply_each", lambda video, draws: video)
  return found


def check(used, step_keys):
  """Every key at one place, and drawn from once or derived from."""
  for key, uses in used.items():
    functions = [name for name, _ in uses]
    if key in step_keys:  # told apart by name
      assert set(functions) == {"fold_in"}, uses
      continue
    assert len({where for _, where in uses}) == 1, uses
    assert len(set(functions)) == 1, uses
    assert len(uses) == 1 or functions[0] == "fold_in", uses


def run(step, state, batch, used):
  for _ in range(2):
    state, _ = step(state, {}, batch)
  jax.effects_barrier()
  seeds = {(0, 0)}  # jax.random.key(0), of which STEP is one use
  for number in range(2):
    data = jax.random.key_data(keys.of_step(0, number))
    seeds.add(tuple(np.asarray(data).tolist()))
  jax.effects_barrier()
  of_all = jax.random.key_data(keys.of(jax.random.key(0), keys.Use.STEP))
  jax.effects_barrier()
  seeds.add(tuple(np.asarray(of_all).tolist()))
  check(used, seeds)
  drawn = collections.Counter(
    where.split(":")[0]
    for uses in used.values()
    for name, where in uses
    if name in SAMPLERS
  )
  return drawn


def rate(step):
  return step.astype("float32")


def state_of(params, tx):
  return state_lib.TrainState(jax.numpy.int32(0), params, tx.init(params))


def test_pretraining(tiny, tiny_video, change, used):
  settings = change(tiny, data__flip=True, model__remat="none")
  tx = optax.sgd(0.1)
  step = jax.jit(steps.pretrain_step(settings, tx, rate))
  state = state_lib.create(settings, tx, mesh_of_one())
  used.clear()
  drawn = run(step, state, {"video": tiny_video}, used)
  assert drawn == {"masking.py": 2 * 8, "flips.py": 2 * 8}


def test_pretraining_on_views(tiny, change, used, monkeypatch):
  """The clip, a second one and two local ones of each of 8 videos."""
  options = clip_dino.Options(
    hidden=8, bottleneck=4, outputs=6, local_views=2, local_size=8
  )
  settings = change(tiny, data__flip=True, model__encoder_depth=1)
  settings = dataclasses.replace(settings, method=options)
  # As above: what is drawn counts here.
  monkeypatch.setattr(views, "apply_each", lambda clips, draws, options: clips)
  tx = optax.sgd(0.1)
  step = jax.jit(steps.pretrain_step(settings, tx, rate))
  state = state_lib.create(settings, tx, mesh_of_one())
  noise = np.random.default_rng(0).integers(0, 256, (8, 4, 16, 16, 3), np.uint8)
  used.clear()
  batch = method.of(settings).batch(noise)
  drawn = run(step, state, batch, used)
  clips = 8 * (1 + 1 + 2)
  assert drawn == {"flips.py": 2 * clips, "views.py": 2 * clips * 3}


def test_training_with_labels(tiny, tiny_video, change, used):
  settings = change(
    tiny,
    task="supervised",
    data__flip=True,
    model__remat="none",
    supervised__drop_path=0.3,
    augment__erase_prob=1.0,
  )
  task = supervised.Task(settings, 3)
  tx = optax.sgd(0.1)
  step = jax.jit(supervised.make_step(task, tx, rate))
  state = state_of(jax.jit(task.fresh)(jax.random.key(1)), tx)
  used.clear()
  batch = {"video": tiny_video, "target": np.arange(8, dtype=np.int32) % 3}
  drawn = run(step, state, batch, used)
  depth = settings.model.encoder_depth
  assert drawn["flips.py"] == 2 * 8
  assert drawn["layers.py"] == 2 * 8 * depth * 2  # two branches a block
  assert drawn["randaugment.py"] == 2 * 8 * 4
  assert drawn["erasing.py"] == 2 * 8 * 6
  assert drawn["mixing.py"] == 2 * 4 * 5


def test_numbers_are_far_from_those_that_count_up_from_zero():
  """split(key)[i] is fold_in(key, i), which flax's streams are too."""
  key = jax.random.key(0)
  same = jax.random.key_data(jax.random.split(key)[1])
  np.testing.assert_array_equal(
    same, jax.random.key_data(jax.random.fold_in(key, 1))
  )
  assert min(keys.Use) >= 1 << 20


def mesh_of_one():
  from sigma_jax import settings as settings_lib
  from sigma_jax.train import mesh as mesh_lib

  return mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
