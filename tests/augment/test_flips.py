"""Random mirroring: half of the clips, whole clips, on any devices."""

import jax
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.augment import flips
from sigma_jax.train import mesh as mesh_lib


def clips(count):
  shape = (count, 2, 3, 4, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_half_of_the_clips_are_mirrored_as_a_whole():
  video = clips(400)
  found = np.asarray(jax.jit(flips.flip)(jax.random.key(0), video))
  mirrored = (found == video[:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
  kept = (found == video).all(axis=(1, 2, 3, 4))
  assert (mirrored != kept).all() and 160 < mirrored.sum() < 240
  assert found.dtype == np.uint8
  other = np.asarray(jax.jit(flips.flip)(jax.random.key(1), video))
  assert (other != found).any()


def test_devices_change_nothing():
  video = clips(16)
  mesh = mesh_lib.make(settings_lib.Mesh())
  spread = mesh_lib.over_batch(mesh)
  run = jax.jit(lambda key, video: flips.flip(key, video, spread))
  found = run(jax.random.key(2), mesh_lib.put_batch({"v": video}, mesh)["v"])
  np.testing.assert_array_equal(found, flips.flip(jax.random.key(2), video))
