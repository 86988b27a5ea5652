"""The recipe: a pure function of key and slot, on any number of devices."""

import dataclasses

import jax
import numpy as np
import pytest

from sigma_jax import settings
from sigma_jax.augment import batches
from sigma_jax.train import mesh as mesh_lib

OPTIONS = settings.Augment(op_prob=1.0, erase_prob=0.5)
SHAPE = (16, 2, 20, 20, 3)


@pytest.fixture(scope="module")
def video():
  return np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


@pytest.fixture(scope="module")
def run():
  """`run(key, video, labels)` on one device."""
  return jax.jit(lambda *arrays: batches.batch(*arrays, 5, OPTIONS, samples=1))


LABELS = np.arange(16, dtype=np.int32) % 5


def test_shapes_sums_and_keys(run, video):
  found, targets = run(jax.random.key(0), video, LABELS)
  assert found.shape == SHAPE and found.dtype == np.uint8
  assert targets.shape == (16, 5) and targets.dtype == np.float32
  np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
  again, same = run(jax.random.key(0), video, LABELS)
  np.testing.assert_array_equal(found, again)
  np.testing.assert_array_equal(targets, same)
  other, _ = run(jax.random.key(1), video, LABELS)
  changed = (np.asarray(found) != np.asarray(other)).mean(axis=(1, 2, 3, 4))
  assert (changed > 0.5).mean() > 0.8


def test_a_clip_depends_on_its_slot_and_not_on_its_neighbours(video):
  run = jax.jit(lambda *arrays: batches.clips(*arrays, OPTIONS))
  found = np.asarray(run(jax.random.key(0), video))
  other = video.copy()
  other[1::2] = 7
  np.testing.assert_array_equal(
    np.asarray(run(jax.random.key(0), other))[::2], found[::2]
  )
  # The same clip in every slot: each is changed in its own way.
  equal = np.broadcast_to(video[:1], SHAPE)
  found = np.asarray(run(jax.random.key(0), equal))
  assert len({clip.tobytes() for clip in found}) == 16


def test_eight_devices_give_the_same_and_send_no_pixels(run, video):
  wanted = run(jax.random.key(2), video, LABELS)
  mesh = mesh_lib.make(settings.Mesh(data=4, fsdp=2))
  spread = mesh_lib.over_batch(mesh)
  arrays = mesh_lib.put_batch({"video": video, "label": LABELS}, mesh)
  sharding = mesh_lib.batch_sharding(mesh)
  sharded = jax.jit(
    lambda *arrays: batches.batch(*arrays, 5, OPTIONS, spread=spread),
    out_shardings=(sharding, sharding),
  )
  arguments = jax.random.key(2), arrays["video"], arrays["label"]
  found, targets = sharded(*arguments)
  np.testing.assert_array_equal(found, wanted[0])
  np.testing.assert_allclose(targets, wanted[1], atol=1e-6)
  text = sharded.lower(*arguments).compile().as_text()
  for collective in ("all-gather", "all-to-all", "collective-permute"):
    lines = [line for line in text.splitlines() if f" {collective}(" in line]
    assert not [line for line in lines if "u8[" in line or "20,20" in line]


def test_all_of_it_can_be_switched_off(video):
  off = dataclasses.replace(
    OPTIONS,
    num_ops=0,
    erase_prob=0.0,
    mixup=0.0,
    cutmix=0.0,
    label_smoothing=0.0,
  )
  found, targets = jax.jit(lambda *arrays: batches.batch(*arrays, 5, off))(
    jax.random.key(0), video, LABELS
  )
  np.testing.assert_array_equal(found, video)
  np.testing.assert_array_equal(targets, np.eye(5)[LABELS])
