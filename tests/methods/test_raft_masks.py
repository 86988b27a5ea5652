"""Motion-guided masks whose flow is RAFT-small's, with random weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import errors, keys, masking
from sigma_jax import settings as settings_lib
from sigma_jax.interop import flow_network, golden_case, torch_writer
from sigma_jax.methods import guided, method, mme
from sigma_jax.models import modules, raft
from sigma_jax.motion import flow, volume
from sigma_jax.settings import given
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps


@pytest.fixture(scope="module", name="weights")
def weights_fixture(tmp_path_factory):
  """A .pth as Princeton's, and what is in it."""
  arrays = {
    name: golden_case.weight(name, shape)
    for name, shape in flow_network.published_shapes().items()
  }
  path = tmp_path_factory.mktemp("raft") / "raft-small.pth"
  torch_writer.save(path, {f"module.{n}": x for n, x in arrays.items()})
  return path, arrays


@pytest.fixture(scope="module", name="run")
def run_fixture(tiny, change, weights):
  """2 x 4 x 4 tubes of 4 frames of 128 px."""
  return change(
    tiny,
    data__size=128,
    model__patch=32,
    masking__kind="motion",
    masking__flow="raft_small",
    masking__flow_weights=str(weights[0]),
    masking__flow_iterations=2,
  )


@pytest.fixture(scope="module", name="video")
def video_fixture():
  """Coarse noise that moves, other in each clip: uint8 [8, 4, 128, 128, 3]."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (8, 24, 24, 3), np.uint8)
  large = coarse.repeat(8, axis=1).repeat(8, axis=2)
  return np.stack(
    [large[:, 4 * t : 4 * t + 128, 6 * t : 6 * t + 128] for t in range(4)],
    axis=1,
  )


@functools.cache
def start(run, devices):
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:devices])
  tx = optax.sgd(0.01)
  make = steps.pretrain_step(run, tx, lambda step: step.astype("float32"), mesh)
  return jax.jit(make), state_lib.create(run, tx, mesh), mesh


def take(run, video, devices):
  step, state, mesh = start(run, devices)
  frozen = jax.device_put(method.of(run).load(), mesh_lib.replicated(mesh))
  return step(state, frozen, mesh_lib.put_batch({"video": video}, mesh))


def test_a_step_on_one_device_is_that_on_eight(run, video):
  (one, metrics), (eight, others) = (take(run, video, n) for n in (1, 8))
  for ours, theirs in zip(*map(jax.tree.leaves, (one, eight)), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
  for name, value in metrics.items():
    np.testing.assert_allclose(others[name], value, rtol=1e-4, err_msg=name)
  assert np.isfinite(metrics["loss"])


def test_the_network_is_frozen_and_in_no_state(run):
  ours = method.of(run)
  assert set(ours.abstract.frozen) == {"flow"}
  assert "flow" not in ours.abstract.params
  loaded = ours.load()
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype), loaded)
  assert shapes == jax.tree.map(
    lambda x: (x.shape, x.dtype), ours.abstract.frozen
  )
  state = jax.eval_shape(lambda: start(run, 1)[1])
  sizes = {leaf.shape for leaf in jax.tree.leaves(state)}
  assert (3, 3, 242, 96) not in sizes
  assert (3, 3, 242, 96) in {leaf.shape for leaf in jax.tree.leaves(loaded)}


def flows_one_by_one(arrays, video, direction):
  """Of every pair towards the middle frame, each pair alone."""
  made = modules.abstract(lambda _: raft.RaftSmall(dtype=jnp.float32))
  tree = flow_network.convert(arrays, np.dtype(np.float32))
  network = modules.merge(made.graph, {}, tree)
  found, base = [], video.shape[1] // 2
  for i in range(video.shape[1] - 1):
    pair = (i, i + 1) if i < base and direction == "corrected" else (i + 1, i)
    first, second = (video[:, j] for j in pair)
    found.append(jax.jit(network, static_argnums=2)(first, second, 2))
  return jnp.stack(found, axis=1)


@pytest.mark.parametrize("direction", ["corrected", "published"])
def test_masks_are_carried_by_its_flow(run, change, video, weights, direction):
  run, video = change(run, masking__direction=direction), video[:2]
  key, frozen = keys.of_step(3, 0), method.of(run).load()
  drawn = jax.jit(lambda key: guided.masks(run, video, key, frozen))(key)
  flows = flows_one_by_one(weights[1], video, direction)
  assert flows.shape == (2, 3, 128, 128, 2)
  wanted = volume.sample(
    keys.of(key, keys.Use.MASK),
    video,
    grid=run.grid,
    ratio=run.masking.ratio,
    published=direction == "published",
    estimate=lambda first, second: flows,
  )
  np.testing.assert_array_equal(drawn.visible, wanted.visible)
  seen = ~np.asarray(masking.to_bool(drawn)).reshape(2, *run.grid)
  assert (seen.sum((2, 3)) == 4).all()
  hidden = method.of(run).hidden(keys.of(key, keys.Use.MASK), video)
  np.testing.assert_array_equal(hidden, ~seen)


def test_it_is_another_flow(run, change, video):
  """What its masks go by is not what is found without it."""
  key = jax.random.key(0)
  ours, theirs = (
    method.of(change(run, masking__flow=name)).guides(key, video[:1])
    for name in ("raft_small", "lucas_kanade")
  )
  for name, values in ours.items():
    assert np.isfinite(values).all()
    assert np.abs(values - theirs[name]).max() > 0.01


def test_the_direction_of_the_flow_is_ours(video):
  """Towards the base it asks for the pairs that the pixels' flow is asked."""
  asked = []

  def estimate(first, second):
    asked.append((first, second))
    return flow.of_pairs(first, second)

  flow.towards(video[:1], 2, estimate=estimate)
  first, second = asked[0]
  for pair, places in enumerate([(0, 1), (1, 2), (3, 2)]):
    np.testing.assert_array_equal(first[:, pair], video[:1, places[0]])
    np.testing.assert_array_equal(second[:, pair], video[:1, places[1]])


def test_it_is_named(run, change):
  told = method.of(run).describe()
  assert told.tubes == "75% masked (motion by RAFT-small, 2 iterations)"
  wrong = change(run, masking__direction="published")
  assert "RAFT-small, 2 iterations, early frames the published wrong way" in (
    method.of(wrong).describe().tubes
  )
  other = change(run, masking__flow_weights="other.pth")
  assert other.fingerprint() != run.fingerprint()


def test_mme_under_its_masks(run):
  """MME has masks of its own section, and the weights beside its networks."""
  run = dataclasses.replace(run, method=mme.Options(steps=1, head_hidden=16))
  ours = method.of(run)
  frozen = ours.load()
  assert set(frozen) == set(ours.abstract.frozen) == {"flow"}
  tx = optax.sgd(0.01)
  step = steps.pretrain_step(run, tx, lambda step: step.astype("float32"))
  video = jax.ShapeDtypeStruct((8, 4, 128, 128, 3), jnp.uint8)
  batch = jax.eval_shape(ours.batch, video)
  state = jax.eval_shape(lambda: start(run, 1)[1])
  _, metrics = jax.eval_shape(step, state, frozen, batch)
  assert "loss_position" in metrics


@pytest.mark.parametrize("size", [96, 120, 132])
def test_clips_that_it_cannot_take(run, change, size):
  small = {"data__size": size, "model__patch": 4}
  with pytest.raises(ValueError, match=r"'raft_small' needs data.size") as told:
    change(run, **small)
  assert f"multiple of 8 from 128 up, got {size}" in str(told.value)
  for other in ({"masking__flow": "lucas_kanade"}, {"masking__kind": "tube"}):
    change(run, **small, **other)
  frames = jnp.zeros((1, size, 128, 3), jnp.uint8)
  with pytest.raises(ValueError, match=f"got {size} x 128"):
    raft.check_size(*frames.shape[1:3])


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    ({"masking__flow": "lucas_kanade"}, "masking.flow is 'lucas_kanade'"),
    ({"masking__kind": "tube"}, "masking.kind is 'tube'"),
  ],
)
def test_options_that_nothing_reads(run, change, changes, why):
  names = ("flow_weights", "flow_iterations", "flow_dtype")
  for name in names:
    given.check_read(run, [f"masking.{name}"])
    with pytest.raises(ValueError, match=f"masking.{name} would have no effec"):
      given.check_read(change(run, **changes), [f"masking.{name}"])
  assert why in given.unread(change(run, **changes), "masking.flow_weights")
  given.check_read(run, ["masking.flow"])
  with pytest.raises(ValueError, match=r"masking.flow would have no effect"):
    given.check_read(change(run, masking__kind="tube"), ["masking.flow"])


def test_wrong_values(run, change):
  with pytest.raises(ValueError, match="did you mean 'raft_small'"):
    change(run, masking__flow="raft-small")
  with pytest.raises(ValueError, match="flow_iterations must be positive"):
    change(run, masking__flow_iterations=0)


def test_weights_that_are_gone_when_masks_are_drawn(run, change, video):
  run = change(run, masking__flow_weights="gone.pth")
  with pytest.raises(errors.UserError, match=r"no file 'gone.pth'"):
    method.of(run).hidden(jax.random.key(0), video)
