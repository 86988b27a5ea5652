"""SwAV and DINO on clips: what a step may depend on, whatever the devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import errors, keys
from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment
from sigma_jax.methods import clip_dino, clip_swav, method, views
from sigma_jax.models import vit
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import optimizer, steps
from sigma_jax.train import state as state_lib

# Colours compile for seconds: tests/augment/test_views.py has them.
SHARED = {
  "jitter_prob": 0.0,
  "blur_prob": (0.0, 0.0, 0.0),
  "solarize_prob": (0.0, 0.0, 0.0),
  "grey_prob": 0.0,
  "local_views": 2,
  "local_size": 8,
  "local_frames": 2,
  "hidden": 24,
  "freeze_epochs": 1.0,
}
OPTIONS = {
  "swav": clip_swav.Options(
    dim=8, prototypes=6, queue=12, queue_epochs=1.0, **SHARED
  ),
  "dino": clip_dino.Options(bottleneck=8, outputs=10, **SHARED),
}
# Two steps an epoch: parts are held, and the queue begins, at the third.
LENGTH = method.Length(steps=8, epoch=2.0)


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tiny, change):
  """Name -> settings; clips are mirrored."""
  base = change(
    tiny,
    data__flip=True,
    model__encoder_depth=1,
    optimizer__base_lr=0.3,
    optimizer__clip_norm=0.3,
    optimizer__clip_by="parameter",
  )
  return {
    name: dataclasses.replace(base, method=options)
    for name, options in OPTIONS.items()
  }


def batches(run, count=1):
  """Noise in every entry."""
  rng = np.random.default_rng(0)
  shapes = {"video": (8, 4, 16, 16, 3)}
  shapes |= {view.name: view.shape(8) for view in views.further(run)}
  return [
    {
      name: rng.integers(0, 256, shape, np.uint8)
      for name, shape in shapes.items()
    }
    for _ in range(count)
  ]


@functools.cache
def start(run, devices=1, fsdp=1):
  """The compiled step and a fresh state."""
  mesh = mesh_lib.make(settings_lib.Mesh(-1, fsdp), jax.devices()[:devices])
  of_run = method.of(run, LENGTH)
  tx, schedule = optimizer.make(
    run.optimizer,
    batch_size=8,
    total_steps=LENGTH.steps,
    steps_per_epoch=LENGTH.epoch,
    **of_run.optimizer(),
  )
  step = steps.pretrain_step(run, tx, schedule, mesh, of_run)
  fresh = state_lib.of_method(of_run)
  return jax.jit(step), state_lib.create(run, tx, mesh, None, fresh), mesh


def take(run, given, state=None, **where):
  step, fresh, mesh = start(run, **where)
  state = state or fresh
  for batch in given:
    state, metrics = step(state, {}, mesh_lib.put_batch(batch, mesh))
  return state, metrics


def same(one, other, atol=1e-6):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=atol),
    jax.device_get(one),
    jax.device_get(other),
  )


@pytest.mark.parametrize("name", OPTIONS)
def test_one_device_is_eight(runs, name):
  """Queue, centre, clipping and what is drawn are the global batch's."""
  run = dataclasses.replace(
    runs[name], optimizer=settings_lib.Optimizer(clip_norm=0.3, warmup_epochs=0)
  )
  given = batches(run, 4)
  one, metrics = take(run, given)
  many, others = take(run, given, devices=8, fsdp=2)
  same(one.carry, many.carry, 1e-5)
  same(one.slow, many.slow, 1e-5)
  for name, value in metrics.items():
    np.testing.assert_allclose(others[name], value, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("name", OPTIONS)
def test_accumulating_is_the_step_of_the_whole_batch(runs, name, change):
  given = batches(runs[name])
  tx = optax.sgd(0.1)
  found = []
  for parts in (1, 4):
    run = change(runs[name], train__accumulate=parts, method__local_views=0)
    mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
    step = steps.pretrain_step(run, tx, lambda step: step.astype("float32"))
    state = state_lib.create(run, tx, mesh)
    found.append(jax.jit(step)(state, {}, given[0]))
  (one, metrics), (parts, others) = found
  same(one.params, parts.params, 1e-5)
  same(one.carry, parts.carry, 1e-5)
  np.testing.assert_allclose(others["loss"], metrics["loss"], rtol=1e-5)


@pytest.mark.parametrize(
  ("name", "held"), [("swav", "prototypes"), ("dino", "last")]
)
def test_a_part_is_held_for_an_epoch(runs, name, held):
  """As it was to the last bit, and trained from the epoch's end on."""
  run = runs[name]
  _, fresh, _ = start(run)
  given = batches(run, 3)
  before = method.of(run).project(fresh.params)[held]
  two, _ = take(run, given[:2])
  same(method.of(run).project(two.params)[held], before, 1e-7)
  moved = jax.tree.map(
    lambda a, b: float(jnp.abs(a - b).max()),
    two.params["head"],
    fresh.params["head"],
  )
  assert max(jax.tree.leaves(moved)) > 1e-3
  three, _ = take(run, given[2:], two)
  changed = jax.tree.leaves(three.params[held])[0]
  assert np.abs(changed - jax.tree.leaves(before)[0]).max() > 1e-3


def test_the_queue_begins_at_its_epoch_and_holds_both_views(runs):
  """Newest first, of unit length; used from the step after it is full."""
  run = runs["swav"]
  given = batches(run, 4)
  two, metrics = take(run, given[:2])
  assert not np.any(two.carry["queue"]) and not metrics["queue_full"]
  three, metrics = take(run, given[2:3], two)
  queue = np.asarray(three.carry["queue"])
  assert queue.shape == (2, 12, 8)
  np.testing.assert_allclose(
    np.linalg.norm(queue[:, :8], axis=-1), 1.0, atol=1e-5
  )
  assert not queue[:, 8:].any() and not metrics["queue_full"]
  four, metrics = take(run, given[3:], three)
  again = np.asarray(four.carry["queue"])
  np.testing.assert_array_equal(again[:, 8:], queue[:, :4])
  assert not metrics["queue_full"]  # as it was before this step
  _, metrics = take(run, given[3:], four)
  assert metrics["queue_full"]
  # The two views of a clip are not the same.
  assert np.abs(again[0] - again[1]).max() > 1e-3


def test_prototypes_begin_a_step_with_unit_length(runs):
  three, _ = take(runs["swav"], batches(runs["swav"], 3))
  raw = np.asarray(three.params["prototypes"])
  found = method.of(runs["swav"]).project(three.params)["prototypes"]
  assert np.abs(np.linalg.norm(raw, axis=1) - 1).max() > 1e-4
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
  np.testing.assert_allclose(found, assignment.normalize(raw), atol=1e-6)


def test_the_teacher_and_the_centre_follow(runs):
  run = runs["dino"]
  _, fresh, _ = start(run)
  same(fresh.slow["head"], fresh.params["head"], 0)
  after, _ = take(run, batches(run))
  momentum = 0.996  # of step 0
  wanted = jax.tree.map(
    lambda old, new: momentum * old + (1 - momentum) * new,
    fresh.slow,
    {name: after.params[name] for name in fresh.slow},
  )
  same(after.slow, wanted, 1e-6)
  assert np.abs(after.carry["centre"]).max() > 0
  of_run = method.of(run, LENGTH)
  np.testing.assert_allclose(of_run._momentum(LENGTH.steps), 1.0)
  np.testing.assert_allclose(of_run._temperature(0), 0.04, rtol=1e-6)
  many = LENGTH.epoch * 29
  np.testing.assert_allclose(of_run._temperature(many), 0.07, rtol=1e-6)
  assert of_run._temperature(many - 1) < 0.0699


@pytest.mark.parametrize("name", OPTIONS)
def test_every_view_is_told_apart(runs, name, change):
  """Local views are encoded at their own size; a view has its own colours."""
  run = change(runs[name], method__grey_prob=0.5, data__flip=False)
  of_run = method.of(run, LENGTH)
  assert set(of_run.colours()) == {"video", "second", "local"}
  (batch,) = batches(run)
  batch["second"] = batch["video"][:, None]
  colour = jax.jit(lambda key: steps._changed(of_run, key, batch, None))
  found, again, others = map(colour, (keys.of_step(0, n) for n in (3, 3, 4)))
  grey = np.ptp(found["second"], axis=-1).max(axis=(1, 2, 3, 4)) == 0
  assert 0 < grey.sum() < 8
  same(found, again, 0)
  assert all(np.any(found[entry] != others[entry]) for entry in found)
  assert np.any(found["second"][:, 0] != found["video"])
  params = of_run.init(jax.random.key(0))
  inputs = of_run.prepare(found, keys.of_step(0, 3), {})
  assert [each.shape[:3] for each in inputs] == [(8, 2, 32), (8, 2, 4)]
  slow, _ = method.beside(of_run, params)
  outputs = of_run.features(method.Weights(params, slow, {}), inputs)
  large, local = outputs["outputs" if name == "swav" else "student"]
  assert large.shape[:2] == local.shape[:2] == (8, 2)


def test_a_batch_of_clips_alone_has_the_views(runs):
  """What benchmarks run: the shapes that the pipeline gives."""
  (batch,) = batches(runs["swav"])
  found = method.of(runs["swav"]).batch(batch["video"])
  assert {name: x.shape for name, x in found.items()} == {
    name: x.shape for name, x in batch.items()
  }
  np.testing.assert_array_equal(
    found["local"][:, 1], batch["video"][:, :2, :8, :8]
  )


def test_an_embedding_is_the_mean_of_normed_tokens(runs):
  run = runs["swav"]
  of_run = method.of(run)
  networks = of_run.networks(of_run.init(jax.random.key(0)), {})
  (batch,) = batches(run)
  large, _ = views.tubes(run, batch)
  one = vit.split_tubes(batch["second"][:, 0], 2, 4)
  wanted = networks.encoder(one).mean(axis=1)
  found = views.embed(networks.encoder, large)[:, 1]
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_local_views_have_places_all_over_the_table(runs):
  """A local view of the large ones' size is a large one."""
  run = runs["dino"]
  wide = dataclasses.replace(
    run,
    method=dataclasses.replace(run.method, local_size=16, local_frames=4),
  )
  params = method.of(wide).init(jax.random.key(0))
  networks = method.of(wide).networks(params, {})
  (batch,) = batches(wide)
  large, local = views.tubes(wide, batch)
  small = views.local_encoder(wide, params["encoder"])
  same(views.embed(small, large), views.embed(networks.encoder, large))
  assert large.shape == local.shape


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    ({"local_size": 10}, "method.local_size must be divisible by model.patch"),
    ({"local_frames": 3}, "local_frames must be divisible by model.tubelet"),
  ],
)
def test_local_views_that_do_not_fit_are_refused(runs, changes, text):
  options = dataclasses.replace(runs["swav"].method, **changes)
  run = dataclasses.replace(runs["swav"], method=options)
  with pytest.raises(errors.UserError, match=text):
    method.of(run).load()


@pytest.mark.parametrize(
  ("kind", "values", "text"),
  [
    ("clip_swav", {"prototypes": 0}, "method.prototypes must be positive"),
    ("clip_swav", {"queue": -1}, "method.queue"),
    ("clip_swav", {"jitter": (0.4,)}, "method.jitter must be four values"),
    ("clip_swav", {"blur": (2.0, 1.0)}, "method.blur must be two values"),
    ("clip_dino", {"momentum": 1.5}, "method.momentum must lie in"),
    ("clip_dino", {"blur_prob": (1.0,)}, "method.blur_prob must be three"),
    ("clip_dino", {"grey_prob": 2.0}, "method.grey_prob must lie in"),
    ("clip_dino", {"local_area": (0.5, 0.1)}, "method.local_area must be two"),
    ("clip_dino", {"outputs": 0}, "method.outputs must be positive"),
    ("clip_dino", {"freeze_epochs": -1.0}, "method.freeze_epochs must not"),
    ("clip_dino", {"local_views": -1}, "method.local_views must not"),
  ],
)
def test_impossible_options_name_their_key(kind, values, text):
  with pytest.raises(ValueError, match=text):
    settings_lib.Settings.from_config({"method": {"name": kind, **values}})
