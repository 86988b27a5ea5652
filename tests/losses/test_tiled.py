"""The tiled loss against the plain writing of the same, `losses.assignment`."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, plans, tiled
from sigma_jax.train import mesh as mesh_lib

CLIPS, TUBES, WIDTH, PROTOTYPES = 8, 10, 6, 15
BASE = {"epsilon": 0.05, "rounds": 4, "temperature": 0.1, "labels": "hard"}


def features(seed=0, clips=CLIPS):
  """Both sides' features, not normalised, and unit prototypes, float32."""
  rng = np.random.default_rng(seed)
  video, target = rng.normal(size=(2, clips, TUBES, WIDTH))
  prototypes = rng.normal(size=(PROTOTYPES, WIDTH))
  prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
  return tuple(jnp.asarray(x, jnp.float32) for x in (video, target, prototypes))


def plan(tiles=4, kernels="keep", dtype="float32", devices=1, **options):
  made = plans.make(
    num_tubes=CLIPS * TUBES,
    num_devices=devices,
    num_prototypes=PROTOTYPES,
    platform="cpu",
    kernels=kernels,
    dtype=dtype,
    **BASE | options,
  )
  return made._replace(tiles=tiles)


def gradients(loss):
  """Jitted: ((loss, labels), gradients by all three arguments)."""
  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


def reference(*arrays, **options):
  def loss(*arrays):
    total, sides = assignment.loss(*arrays, **BASE | options)
    return total, tuple(side.labels for side in sides)

  return gradients(loss)(*arrays)


def assert_same(found, wanted, rtol=2e-6):
  (loss, labels), grads = found
  (wanted_loss, wanted_labels), wanted_grads = wanted
  np.testing.assert_allclose(loss, wanted_loss, rtol=rtol)
  for a, b in zip(labels, wanted_labels, strict=True):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == jnp.int32
  for a, b in zip(grads, wanted_grads, strict=True):
    np.testing.assert_allclose(a, b, atol=rtol * float(jnp.abs(b).max()))


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("kernels", ["keep", "recompute"])
@pytest.mark.parametrize(
  ("epsilon", "log_space"), [(0.05, False), (0.03, False), (0.01, True)]
)
@pytest.mark.parametrize("tiles", [1, 4, 7], ids=["whole", "even", "rest"])
def test_loss_labels_and_gradients(labels, kernels, epsilon, log_space, tiles):
  """7 tiles of 80 tubes leave the last one partly empty."""
  options = {"labels": labels, "epsilon": epsilon}
  made = plan(tiles, kernels, **options)
  assert made.log_space == log_space
  found = gradients(lambda *arrays: tiled.loss(*arrays, made))(*features())
  assert_same(found, reference(*features(), **options), rtol=1e-5)


def test_gradients_scale_with_what_follows():
  made = plan()

  def tripled(*arrays):
    total, labels = tiled.loss(*arrays, made)
    return 3 * total, labels

  (loss, labels), grads = gradients(tripled)(*features())
  thirds = (loss / 3, labels), [g / 3 for g in grads]
  assert_same(thirds, reference(*features()), rtol=1e-5)


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_any_number_of_rounds(rounds):
  made = plan(rounds=rounds)
  found = gradients(lambda *arrays: tiled.loss(*arrays, made))(*features())
  assert_same(found, reference(*features(), rounds=rounds), rtol=1e-5)


@pytest.mark.parametrize("kernels", ["keep", "recompute"])
def test_bfloat16_products_are_near(kernels):
  """Labels of near ties may differ: the loss is compared."""
  made = plan(kernels=kernels, dtype="bfloat16", labels="soft")
  found = gradients(lambda *arrays: tiled.loss(*arrays, made))(*features())
  wanted = reference(*features(), labels="soft")
  np.testing.assert_allclose(found[0][0], wanted[0][0], rtol=5e-3)
  for a, b in zip(found[1], wanted[1], strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=0.05 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("epsilon", [0.05, 0.001], ids=["numbers", "logs"])
def test_constant_tubes_and_equal_prototypes_stay_finite(epsilon):
  video, target, prototypes = features()
  video = video.at[0].set(0.0)
  target = target.at[:, 3].set(0.0)
  prototypes = prototypes.at[1].set(prototypes[0])
  made = plan(epsilon=epsilon)
  found = gradients(lambda *arrays: tiled.loss(*arrays, made))(
    video, target, prototypes
  )
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_features_of_no_length_have_bounded_gradients():
  """Tubes shorter than SHORTEST are as the plain writing has them."""
  video, target, prototypes = features()
  video = video.at[0].multiply(1e-5)
  target = target.at[:, 3].multiply(1e-7)
  made = plan(labels="soft")
  found = gradients(lambda *arrays: tiled.loss(*arrays, made))(
    video, target, prototypes
  )
  wanted = reference(video, target, prototypes, labels="soft")
  assert_same(found, wanted, rtol=1e-5)
  # A tube's error sums to at most 2 / temperature; B of them are averaged.
  bound = 2 / BASE["temperature"] / (CLIPS * TUBES) / assignment.SHORTEST
  for gradient in found[1][:2]:
    assert np.linalg.norm(gradient, axis=-1).max() < bound


def test_the_worst_scores_that_numbers_are_trusted_with():
  """All tubes opposite to all prototypes but one, at the least epsilon."""
  epsilon = 1.0001 * 2 / (85 - np.log(CLIPS * TUBES))
  video = jnp.tile(jnp.eye(WIDTH, dtype=jnp.float32)[0], (CLIPS, TUBES, 1))
  prototypes = -jnp.tile(video[0, :1], (PROTOTYPES, 1)).at[0, 0].set(-1.0)
  made = plan(epsilon=epsilon)
  assert not made.log_space
  found = gradients(lambda *arrays: tiled.loss(*arrays, made))(
    video, -video, prototypes
  )
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


@functools.cache
def spread_over(data, fsdp, **options):
  """The loss on eight devices: inputs on them, and the compiled function."""
  mesh = mesh_lib.make(settings_lib.Mesh(data, fsdp))
  made = plan(tiles=2, devices=8, **options)
  spread = mesh_lib.over_batch(mesh)
  run = gradients(lambda *arrays: tiled.loss(*arrays, made, spread))
  split = mesh_lib.batch_sharding(mesh)
  places = (split, split, mesh_lib.replicated(mesh))
  arrays = jax.device_put(features(), places)
  return arrays, run.lower(*arrays).compile()


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (2, 4)])
@pytest.mark.parametrize("epsilon", [0.05, 0.01], ids=["numbers", "logs"])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_eight_devices_compute_what_one_does(data, fsdp, epsilon, labels):
  arrays, run = spread_over(data, fsdp, epsilon=epsilon, labels=labels)
  wanted = reference(*features(), epsilon=epsilon, labels=labels)
  found = run(*arrays)
  assert_same(found, wanted, rtol=1e-5)
  assert found[1][0].sharding.spec == PartitionSpec(("data", "fsdp"))


def test_only_sums_over_tubes_cross_devices():
  """Masses of k, the loss, and once the prototypes' gradient; no gathers."""
  _, run = spread_over(8, 1)
  text = run.as_text()
  assert not re.search(r"all-gather|all-to-all|collective-permute", text)
  sums = re.findall(r"= (.*?) all-reduce\(", text)
  assert sums
  shapes = {s for line in sums for s in re.findall(r"f32\[([\d,]*)\]", line)}
  allowed = {"", f"{PROTOTYPES}", f"{PROTOTYPES},{WIDTH}"}
  assert shapes <= allowed, sums


def test_recomputing_takes_no_memory_that_grows_with_the_tubes():
  """Scratch of four and of sixteen times the tubes, at tiles of 20 rows."""

  def scratch(clips, kernels):
    made = plan(tiles=clips * TUBES // 20, kernels=kernels)
    run = gradients(lambda *arrays: tiled.loss(*arrays, made))
    compiled = run.lower(*features(clips=clips)).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  kept, recomputed = (
    scratch(64, kernels) - scratch(16, kernels)
    for kernels in ("keep", "recompute")
  )
  more_tubes = 48 * TUBES
  assert kept > 2 * 4 * more_tubes * PROTOTYPES
  # Two labels and a weight for every tube.
  assert recomputed <= 4 * 4 * more_tubes


def make(**changes):
  options = {
    "num_tubes": 11264,
    "num_devices": 1,
    "num_prototypes": 3000,
    "platform": "cpu",
    "kernels": "auto",
    "dtype": "float32",
    **BASE,
  }
  return plans.make(**options | changes)


def test_plans_keep_kernels_while_they_are_small():
  assert make().keep
  assert not make(kernels="recompute").keep
  assert not make(num_tubes=2**20).keep
  assert make(num_tubes=2**20, num_devices=64).keep
  assert make(num_tubes=2**20, kernels="keep").keep
  assert not make(num_tubes=2**16, platform="gpu").keep


def test_tiles_divide_the_tubes_where_they_can():
  assert 11264 % make().tiles == 0
  rows = 11264 // make().tiles
  assert 1e6 < rows * 3000 * 4 < 2**22
  assert make(num_tubes=8, num_prototypes=10).tiles == 1
  prime = make(num_tubes=10007).tiles
  assert 1e6 < 10007 / prime * 3000 * 4 < 2**22


def test_logarithms_where_float32_might_not_hold_the_numbers():
  assert not make(epsilon=0.05).log_space
  assert not make(epsilon=0.03, num_tubes=640 * 1408).log_space
  assert make(epsilon=0.02).log_space
