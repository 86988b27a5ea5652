"""Histograms of gradients: symmetries, and what the published ones lose."""

import pathlib

import jax
import numpy as np
import pytest

from sigma_jax.models import hog

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "mme"


def noise(*shape):
  return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def test_mirrored_frames_have_mirrored_orientations():
  frames = noise(3, 16, 24, 3)
  found = np.asarray(hog.histograms(frames, 8))
  mirrored = np.asarray(hog.histograms(frames[:, :, ::-1].copy(), 8))
  expected = found[:, :, ::-1][..., -np.arange(9) % 9]
  np.testing.assert_allclose(mirrored, expected, atol=1e-5)


def test_every_gradient_is_counted_whole():
  """Also upright and level edges, which the published code gives no bin."""
  with np.load(GOLDEN / "mme_hog.npz") as case:
    frames, theirs = case["edge_video"][:, 1::2], case["edge_hog"]
  found = np.asarray(hog.histograms(frames, 8))
  ours = found.transpose(0, 4, 5, 1, 2, 3).reshape(theirs.shape)
  right, down = hog._derivatives(
    np.moveaxis(np.asarray(hog.vit.normalize_pixels(frames)), -1, -3)
  )
  length = np.hypot(right, down)
  cells = length.reshape(1, 1, 3, 2, 8, 6, 8).mean((4, 6))
  np.testing.assert_allclose(
    found.sum(-1).transpose(0, 1, 4, 2, 3), cells, rtol=1e-4, atol=1e-6
  )
  # What varies along x alone is lost in theirs, and only that.
  lost = ours - theirs
  assert lost.max() > 0.1 and lost.min() > -1e-5
  assert np.abs(lost).sum(axis=(0, 2, 3, 4))[[0, 9, 18]].sum() == pytest.approx(
    np.abs(lost).sum(), rel=1e-5
  )


def test_a_flat_frame_has_none():
  frames = np.full((1, 16, 16, 3), 77, np.uint8)
  np.testing.assert_array_equal(hog.histograms(frames, 8), 0)
  for kind in hog.NORMS:
    flat = hog.normalized(hog.histograms(frames, 8), kind)
    np.testing.assert_array_equal(flat, 0)


def test_cells_go_to_their_tubes():
  hist = np.arange(2 * 2 * 1 * 4 * 6 * 3 * 9, dtype=np.float32)
  hist = hist.reshape(2, 2, 1, 4, 6, 3, 9)
  found = np.asarray(jax.jit(hog.tokens)(hist))
  assert found.shape == (2, 12, 108)
  # Clip 1, slot 1, second row, third column; blue, bin 4, lower left cell.
  place = (6 + 3 + 2, (2 * 9 + 4) * 4 + 2)
  assert found[1, *place] == hist[1, 1, 0, 3, 4, 2, 4]
