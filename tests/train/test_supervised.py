"""Training with labels: the step, its rates, its average, its devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.models import layers
from sigma_jax.train import loop, metrics, optimizer, state, steps, supervised
from sigma_jax.train import mesh as mesh_lib

CLASSES = 3
PLAIN = settings_lib.Augment(
  num_ops=0, erase_prob=0.0, mixup=0.0, cutmix=0.0, label_smoothing=0.0
)
# RandAugment takes seconds to compile: tests/augment has it on 8 devices.
MIXED = settings_lib.Augment(num_ops=0)


@pytest.fixture(name="task")
def task_fixture(tiny, change):
  """`task(trains="head", ...)`: options of `supervised` and other sections."""

  def make(outputs=CLASSES, augment=PLAIN, **options):
    options = {
      key if "__" in key else f"supervised__{key}": value
      for key, value in options.items()
    }
    # The rate is of 256 clips: 0.01 of these 8.
    options = {"optimizer__base_lr": 0.3, "task": "supervised"} | options
    settings = change(tiny, **options)
    settings = dataclasses.replace(settings, augment=augment)
    return supervised.Task(settings, outputs)

  return make


@pytest.fixture(name="batch")
def batch_fixture(tiny_video):
  return {"video": tiny_video, "target": np.arange(8, dtype=np.int32) % CLASSES}


def frozen_of(task):
  fresh = jax.jit(task.fresh)(jax.random.key(7))
  return {"encoder": fresh["encoder"]} if task.frozen_encoder else {}


def train(task, batch, count=3, devices=1, axes=None, frozen=None):
  """(state, metrics) after some steps on one batch."""
  axes = axes or settings_lib.Mesh()
  mesh = mesh_lib.make(axes, jax.devices()[:devices])
  job = supervised.job(task)
  tx, schedule = optimizer.make(
    task.settings.optimizer,
    batch_size=8,
    total_steps=6,
    steps_per_epoch=2.0,
    **job.optimizer,
  )
  started = state.create(task.settings, tx, mesh, fresh=job.fresh)
  step = job.make_step(task.settings, tx, schedule, mesh)
  step = steps.jit(step, mesh, started)
  frozen = frozen_of(task) if frozen is None else frozen
  frozen = jax.device_put(frozen, mesh_lib.replicated(mesh))
  placed = mesh_lib.put_batch(batch, mesh)
  for _ in range(count):
    started, values = step(started, frozen, placed)
  return started, values


def close(a, b, **tolerance):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


# --- devices and parts --------------------------------------------------------


def test_devices_do_not_change_the_step(task, batch):
  """Nor what augmentation, mixing and stochastic depth draw."""
  made = task(augment=MIXED, ema=0.5)
  one, one_metrics = train(made, batch, 2)
  axes = settings_lib.Mesh(data=2, fsdp=4)
  many, many_metrics = train(made, batch, 2, 8, axes)
  close(one_metrics, many_metrics, rtol=1e-4)
  close(one.params, many.params, atol=2e-5)


def test_parts_of_a_batch_are_the_whole(task, batch):
  """Stochastic depth drops the same branches of the same clips."""
  whole = train(task(drop_path=0.5), batch, 2)
  parts = train(task(drop_path=0.5, train__accumulate=4), batch, 2)
  close(whole[1], parts[1], rtol=1e-4)
  close(whole[0].params, parts[0].params, atol=2e-5)


def test_the_same_step_draws_the_same(task, batch):
  first, again = (train(task(), batch, 2)[0] for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
  other = train(task(drop_path=0.5), batch, 2)[0]
  leaves = zip(*map(jax.tree.leaves, (first.params, other.params)), strict=True)
  assert any((a != b).any() for a, b in leaves)


# --- what is trained ----------------------------------------------------------


def test_fine_tuning_learns_a_batch(task, batch):
  made = task(head_scale=1.0, layer_decay=1.0)
  before = float(train(made, batch, 1)[1]["loss"])
  after = float(train(made, batch, 6)[1]["loss"])
  assert after < 0.7 * before


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
def test_a_probe_leaves_the_encoder_alone(task, batch, pooling):
  """It is not in the state, and what the heads say has no gradient by it."""
  made = task(trains="head", pooling=pooling, head_scale=1.0)
  frozen = frozen_of(made)
  kept = jax.tree.map(np.array, frozen)
  after, _ = train(made, batch, frozen=frozen)
  assert "encoder" not in after.params
  jax.tree.map(np.testing.assert_array_equal, frozen, kept)

  def loss(frozen):
    return jnp.sum(made.outputs(after.params, frozen, batch["video"]))

  for leaf in jax.tree.leaves(jax.grad(loss)(frozen)):
    assert not leaf.any()
  start = made.init_params(jax.random.key(made.settings.seed))
  for a, b in zip(
    jax.tree.leaves(start), jax.tree.leaves(after.params), strict=True
  ):
    assert (a != b).any()


def test_heads_of_several_rates_train_as_if_alone(task, batch):
  rates = (0.5, 2.0)
  together = task(trains="head", rates=rates)
  frozen = frozen_of(together)
  both, _ = train(together, batch, frozen=frozen)
  for place, rate in enumerate(rates):
    alone = task(
      trains="head",
      rates=(1.0,),
      optimizer__base_lr=0.3 * rate,
      optimizer__min_lr=1e-5 * rate,
    )
    one, _ = train(alone, batch, frozen=frozen)
    close(
      jax.tree.map(lambda leaf: leaf[0], one.params),
      jax.tree.map(lambda leaf, place=place: leaf[place], both.params),
      atol=1e-6,
    )


def test_frozen_tokens_are_computed_without_chance(task, batch):
  """Stochastic depth stays off in a frozen encoder."""
  made = task(trains="head", drop_path=0.9, head_scale=1.0)
  params = made.init_params(jax.random.key(0))
  frozen = frozen_of(made)
  outputs = [
    made.outputs(params, frozen, batch["video"], drop)
    for drop in (None, layers.DropPath(jax.random.key(3), 0.9))
  ]
  np.testing.assert_array_equal(*outputs)


# --- optimiser ----------------------------------------------------------------


def test_layer_decay_by_hand(task):
  made = task(model__encoder_depth=3)
  params = jax.eval_shape(made.fresh, jax.random.key(0))
  found = optimizer.layer_decay(params, 0.5)
  assert found["encoder"]["embed"]["kernel"] == 0.5**4
  blocks = found["encoder"]["stack"]["blocks"]
  kernel = blocks["mlp"]["fc1"]["kernel"]
  assert kernel.shape == (3, 1, 1)
  np.testing.assert_array_equal(kernel.ravel(), [0.125, 0.25, 0.5])
  assert found["head"]["bias"] == found["norm"]["scale"] == 1.0
  single = {
    **params["encoder"],
    "stack": {"blocks": {"w": tuple(jnp.zeros((2, 2)) for _ in range(3))}},
  }
  found = optimizer.layer_decay({**params, "encoder": single}, 0.5)
  assert found["encoder"]["stack"]["blocks"]["w"] == (0.125, 0.25, 0.5)


def test_the_moving_average_by_hand():
  tx = optax.chain(optax.sgd(1.0), optimizer.moving_average(0.75))
  params = {"w": jnp.float32(8)}
  opt_state = tx.init(params)
  average = 8.0
  for _ in range(3):
    updates, opt_state = tx.update({"w": jnp.float32(2)}, opt_state, params)
    params = optax.apply_updates(params, updates)
    average = 0.75 * average + 0.25 * float(params["w"])
  assert float(params["w"]) == 2
  assert float(optimizer.averaged(opt_state)["w"]) == average
  assert optimizer.averaged(optax.sgd(1.0).init(params)) is None


# --- losses -------------------------------------------------------------------


def test_losses_by_hand():
  two = jnp.array([[[0.0, np.log(3.0)], [0.0, 0.0]]])  # 1 head, 2 clips
  target = jnp.array([[0.0, 1.0], [0.5, 0.5]])
  wanted = (np.log(4 / 3) + np.log(2)) / 2
  found = supervised.losses("classes", two, target)
  np.testing.assert_allclose(found, [wanted], rtol=1e-6)
  some = jnp.array([[0.0, 1.0], [1.0, 0.0]])
  each = [np.log(2), np.log(4 / 3), np.log(2), np.log(2)]
  found = supervised.losses("multilabel", two, some)
  np.testing.assert_allclose(found, [np.mean(each)], rtol=1e-6)
  # softplus(0) = ln 2; Huber: half the square below 1, linear above.
  one = jnp.zeros((1, 2, 1))
  found = supervised.losses("count", one, jnp.array([0.0, 5.0]))
  wanted = (np.log(2) ** 2 / 2 + (5 - np.log(2)) - 0.5) / 2
  np.testing.assert_allclose(found, [wanted], rtol=1e-6)


def test_predictions_by_hand():
  outputs = jnp.array([[0.0, np.log(3.0)]])
  np.testing.assert_allclose(
    supervised.predictions("classes", outputs), [[0.25, 0.75]], rtol=1e-6
  )
  np.testing.assert_allclose(
    supervised.predictions("multilabel", outputs), [[0.5, 0.75]], rtol=1e-6
  )
  np.testing.assert_allclose(
    supervised.predictions("count", jnp.zeros((1, 1))), [[np.log(2)]], rtol=1e-6
  )


@pytest.mark.parametrize("targets", ["multilabel", "count"])
def test_other_targets_are_learnt(task, batch, targets):
  files = {"train_targets": "a", "val_targets": "b"}
  outputs = 4 if targets == "multilabel" else 1
  made = task(
    outputs, targets=targets, head_scale=1.0, layer_decay=1.0, **files
  )
  rng = np.random.default_rng(0)
  target = rng.integers(0, 2, (8, 4)) if outputs == 4 else rng.uniform(0, 3, 8)
  batch = {"video": batch["video"], "target": target.astype(np.float32)}
  before = float(train(made, batch, 1)[1]["loss"])
  assert float(train(made, batch, 6)[1]["loss"]) < 0.8 * before


# --- the loop -----------------------------------------------------------------


def test_a_killed_run_resumes_bitwise_and_warns_of_nothing(
  task, tmp_path, monkeypatch
):
  """Also its moving average, which starts at the initial parameters."""
  made = task(ema=0.9)
  initial = jax.device_get(jax.jit(made.fresh)(jax.random.key(5)))
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)

  def run(workdir, stop_before=None):
    def open_batches(start):
      step = start
      while True:
        step += 1
        if step == stop_before:
          raise KeyboardInterrupt
        rng = np.random.default_rng(step)
        yield {
          "video": rng.integers(0, 256, (8, 4, 16, 16, 3), np.uint8),
          "target": rng.integers(0, CLASSES, 8, np.int32),
          "index": np.arange(8, dtype=np.int32),
        }

    return loop.run(
      made.settings,
      workdir,
      supervised.job(made),
      num_examples=32,
      open_batches=open_batches,
      file_name=str,
      initial=initial,
    )

  unbroken, last = run(tmp_path / "unbroken")
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / "killed", stop_before=5)
  resumed, _ = run(tmp_path / "killed")
  jax.tree.map(np.testing.assert_array_equal, unbroken, resumed)
  assert np.isfinite(last["loss"])
  average = optimizer.averaged(unbroken.opt_state)
  kernel = [t["head"]["kernel"] for t in (initial, average, unbroken.params)]
  assert (
    np.abs(kernel[1] - kernel[0]).max() < np.abs(kernel[2] - kernel[0]).max()
  )
  again, nothing = run(tmp_path / "killed")
  assert nothing == {}
  jax.tree.map(np.testing.assert_array_equal, again.params, resumed.params)
