"""MME's step: what it may depend on, and what its options change."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sigma_jax import errors, keys
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method, mme
from sigma_jax.models import described
from sigma_jax.motion import flow
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps


@pytest.fixture(scope="module", name="small")
def small_fixture(tiny, change):
  run = change(tiny, model__encoder_depth=1)
  return dataclasses.replace(run, method=mme.Options(steps=2, head_hidden=16))


@pytest.fixture(scope="module", autouse=True)
def cheap_flow():
  """Flow that compiles in no time; tests/motion have the one that is used."""

  def between(first, second):
    change = (second.astype(jnp.float32) - first.astype(jnp.float32)) / 64
    return jnp.stack([change, jnp.roll(change, 1, axis=-1)], axis=-1)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(flow, "between", between)
    yield


@pytest.fixture(scope="module", name="batch")
def batch_fixture():
  """A noisy square that goes over noise, and frames of it between."""
  rng = np.random.default_rng(0)
  frames = np.repeat(rng.integers(0, 256, (8, 1, 16, 16, 3)), 6, axis=1)
  for clip, time in np.ndindex(8, 6):
    x, y = 2 + (clip + time) % 8, 3 + clip // 2
    square = np.random.default_rng(clip).integers(0, 256, (5, 5, 3))
    frames[clip, time, y : y + 5, x : x + 5] = square
  video = frames[:, :4].astype(np.uint8)
  grey = frames.mean(-1).astype(np.uint8)
  luma = np.stack([grey[:, 0:3], grey[:, 2:5]], axis=1)
  return {"video": video, "luma": luma}


def options(run, **changes):
  return dataclasses.replace(
    run, method=dataclasses.replace(run.method, **changes)
  )


@functools.cache
def start(run, devices=1, fsdp=1):
  """The compiled step and a fresh state."""
  mesh = mesh_lib.make(settings_lib.Mesh(-1, fsdp), jax.devices()[:devices])
  tx = optax.sgd(0.01)
  make = steps.pretrain_step(run, tx, lambda step: step.astype("float32"), mesh)
  return jax.jit(make), state_lib.create(run, tx, mesh), mesh


def take(run, batch, **where):
  step, state, mesh = start(run, **where)
  return step(state, {}, mesh_lib.put_batch(batch, mesh))


def same(one, other, atol=1e-6):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=atol),
    jax.device_get(one),
    jax.device_get(other),
  )


@pytest.fixture(scope="module", name="one")
def one_fixture(small, batch):
  """A step of the whole batch on one device."""
  return take(small, batch)


def test_one_device_is_eight(small, batch, one):
  many, others = take(small, batch, devices=8, fsdp=2)
  same(one[0].params, many.params)
  for name, value in one[1].items():
    np.testing.assert_allclose(others[name], value, rtol=1e-4, err_msg=name)
  assert 0.2 < one[1]["moving"] <= 1


def test_accumulating_is_the_step_of_the_whole_batch(small, batch, one, change):
  parts, others = take(change(small, train__accumulate=4), batch)
  same(one[0].params, parts.params)
  np.testing.assert_allclose(others["loss"], one[1]["loss"], rtol=1e-5)


def test_the_loss_is_the_mean_of_both_parts(one):
  metrics = one[1]
  both = 0.5 * (metrics["loss_shape"] + metrics["loss_position"])
  np.testing.assert_allclose(metrics["loss"], both, rtol=1e-6)


def targets(run, batch, seed=0):
  """Histograms and labels of all tubes."""
  ours = method.of(run)
  tracks = jax.jit(ours.tracks)(batch["luma"])
  return {
    "shape": np.asarray(
      jax.jit(ours.shapes)(batch["video"], keys.of_step(seed, 0))
    ),
    "position": np.asarray(ours.positions(tracks)),
  }


def test_what_is_published_is_an_option_each(small, batch):
  """Each changes its own target, and no other."""
  plain = targets(small, batch)
  assert plain["shape"].shape == (8, 32, 108)
  assert plain["position"].shape == (8, 32, 16)
  for changes, part in (
    ({"hog_norm": "l2", "tracking": "whole"}, None),
    ({"hog_bias": 0.3}, "shape"),
    ({"camera": "none"}, "position"),
    ({"epsilon": 2e-5}, "position"),
    ({"trajectory_norm": "none"}, "position"),
  ):
    other = targets(options(small, **changes), batch)
    for name, values in plain.items():
      equal = (values == other[name]).all()
      assert equal == (part is not None and name != part), (changes, name)


def test_a_bias_of_derivatives_is_drawn_anew(small, batch):
  shapes = jax.jit(method.of(options(small, hog_bias=0.3)).shapes)
  first, again, later = (
    np.asarray(shapes(batch["video"], keys.of_step(0, step)))
    for step in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != later).any()


def test_the_weight_of_trajectories(small):
  """And that a tube without one counts with nothing."""
  rng = np.random.default_rng(0)
  both = [
    described.Described(
      *(rng.random((2, 3, size), np.float32) for size in (108, 16))
    )
    for _ in range(2)
  ]
  features = {
    "predicted": both[0],
    "target": both[1],
    "counted": np.array([[1, 0, 1], [1, 1, 0]], np.float32),
  }
  shape, position = (
    np.square(ours - theirs).sum(-1) for ours, theirs in zip(*both, strict=True)
  )
  position = 2 * position * features["counted"]  # of two steps, as if of four
  for scale in (0.0, 1.0, 3.0):
    ours = method.of(options(small, trajectory_scale=scale))
    judged = ours.loss({}, features, {}, jnp.int32(0), None)
    wanted = 0.5 * (shape.sum() + scale * position.sum()) / 6
    np.testing.assert_allclose(judged.loss, wanted, rtol=1e-5)


class Shown(method.Method):
  """A step that shows which grey frames it has been given."""

  inputs = ("video", "luma")

  def module(self, rngs):
    return nnx.Linear(1, 1, rngs=rngs)

  def prepare(self, batch, key, frozen):
    return batch["video"], batch["luma"]

  def features(self, weights, inputs):
    return [x.astype(jnp.float32) for x in inputs] + [weights.params["bias"]]

  def loss(self, heads, features, carry, step, where):
    video, luma, bias = features
    side = jnp.arange(16, dtype=jnp.float32)
    found = {"loss": jnp.sum(bias)}
    for clip in range(8):
      found[f"luma_{clip}"] = jnp.sum(luma[clip] * side)
      found[f"video_{clip}"] = jnp.sum(video[clip] * side[:, None])
    return method.Judged(jnp.sum(bias), carry, found)


def test_grey_frames_are_mirrored_with_their_clips(small, batch, change):
  run = change(small, data__flip=True)
  tx = optax.sgd(0.1)
  ours = Shown(run)
  step = steps.pretrain_step(
    run, tx, lambda step: step.astype("float32"), method=ours
  )
  fresh = state_lib.of_method(ours)
  state = state_lib.create(run, tx, start(small)[2], None, fresh)
  _, metrics = jax.jit(step)(state, {}, batch)
  side, flipped = np.arange(16.0), []
  for clip in range(8):
    pair = []
    for name, values in (
      ("luma", batch["luma"][clip].sum((0, 1, 2))),
      ("video", batch["video"][clip].sum((0, 1, 3))),
    ):
      found = float(metrics[f"{name}_{clip}"])
      sums = [float(values @ side), float(values[::-1] @ side)]
      assert min(abs(found / x - 1) for x in sums) < 1e-5
      pair.append(abs(found / sums[1] - 1) < 1e-5)
    assert pair[0] == pair[1]
    flipped.append(pair[0])
  assert 0 < sum(flipped) < 8


def test_still_clips_are_told(small, batch):
  still = {
    "video": np.repeat(batch["video"][:, :1], 4, axis=1),
    "luma": np.repeat(batch["luma"][:, :, :1], 3, axis=2),
  }
  _, metrics = take(small, still)
  found = {name: float(value) for name, value in metrics.items()}
  assert found["moving"] == 0 and np.isfinite(found["loss"])
  assert "nothing to learn" in method.of(small).signs(1, found, found)["still"]
  assert method.of(small).signs(1, found, found | {"moving": 0.5}) == {}


def test_a_patch_that_has_no_cells_is_refused(tiny, change):
  run = change(tiny, model__patch=2, data__size=224)
  with pytest.raises(errors.UserError, match=r"model\.patch 2 .*multiple of 4"):
    method.of(dataclasses.replace(run, method=mme.Options()))


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"steps": 0}, "method.steps"),
    ({"epsilon": 0.0}, "method.epsilon"),
    ({"camera": "homography"}, "method.camera"),
    ({"hog_bias": -1.0}, "method.hog_bias must not be negative"),
  ],
)
def test_impossible_options_are_refused(changes, words):
  with pytest.raises(ValueError, match=words):
    mme.Options(**changes)
