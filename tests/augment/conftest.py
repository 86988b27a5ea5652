"""Frames on which Pillow and ours are compared."""

import numpy as np
import PIL.Image
import pytest


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
  """uint8 [4, 40, 56, 3]: noisy, smooth and dark, of two values, flat."""
  rng = np.random.default_rng(0)
  noisy = rng.integers(0, 256, (40, 56, 3), np.uint8)
  coarse = rng.integers(20, 120, (6, 8, 3), np.uint8)
  smooth = PIL.Image.fromarray(coarse).resize(
    (56, 40), PIL.Image.Resampling.BICUBIC
  )
  two = np.where(noisy > 200, 90, 160).astype(np.uint8)
  flat = np.broadcast_to(np.asarray([7, 200, 90], np.uint8), noisy.shape)
  return np.stack([noisy, np.asarray(smooth), two, flat])


@pytest.fixture(scope="session")
def by_pillow():
  """`by_pillow(function, frames)`: applies it to each frame as an image."""

  def apply(function, frames):
    images = [PIL.Image.fromarray(frame) for frame in frames]
    return np.stack([np.asarray(function(image)) for image in images])

  return apply


@pytest.fixture(scope="session")
def assert_close():
  """At most one grey level apart, and that in few values."""

  def check(found, wanted, share):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == wanted.dtype == np.uint8
    apart = np.abs(found.astype(int) - wanted)
    assert apart.max() <= 1
    assert np.mean(apart > 0) <= share

  return check
