"""Resizing against an independent bilinear average."""

import numpy as np

from sigma_jax.data import transforms


def test_a_box_of_the_right_size_is_copied_exactly():
  video = np.random.default_rng(0).integers(0, 256, (2, 9, 11, 3), np.uint8)
  out = transforms.crop_resize(video, (3, 2, 6, 6), 6)
  np.testing.assert_array_equal(out, video[:, 2:8, 3:9])


def _triangle(size_in, size_out):
  """Rows of antialiased bilinear weights, [size_out, size_in]."""
  scale = size_in / size_out
  support = max(scale, 1.0)
  centres = (np.arange(size_out) + 0.5) * scale - 0.5
  distance = np.abs(np.arange(size_in)[None] - centres[:, None]) / support
  weights = np.maximum(1 - distance, 0)
  return weights / weights.sum(1, keepdims=True)


def test_resizing_is_bilinear_antialiased_and_keeps_colour():
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (1, 70, 90, 3), np.uint8)
  for x, y, w, h, size in [(5, 3, 64, 56, 32), (0, 0, 40, 44, 56)]:
    out = transforms.crop_resize(video, (x, y, w, h), size)
    rows, columns = _triangle(h, size), _triangle(w, size)
    crop = video[0, y : y + h, x : x + w].astype(float)
    expected = np.einsum("ih,hwc,jw->ijc", rows, crop, columns)
    assert out.dtype == np.uint8 and out.shape == (1, size, size, 3)
    error = np.abs(out[0] - expected)[2:-2, 2:-2]
    assert error.mean() < 0.5 and error.max() < 6


def test_flat_colour_is_kept():
  video = np.full((1, 50, 60, 3), (255, 0, 128), np.uint8)
  out = transforms.crop_resize(video, (0, 0, 50, 50), 24)
  assert np.abs(out.astype(int) - (255, 0, 128)).max() <= 1


def test_mirror():
  video = np.arange(12, dtype=np.uint8).reshape(1, 1, 4, 3)
  np.testing.assert_array_equal(
    transforms.mirror(video)[0, 0], video[0, 0][::-1]
  )
