"""The flow of a clip: known motions, symmetries, and what must not matter."""

import jax
import numpy as np
import pytest

from sigma_jax.motion import flow, warping

SIDE = 64
between = jax.jit(flow.between)


def pair(first, second):
  """The flow of one pair at the finest level, [64, 64, 2]."""
  return np.asarray(between(first[None], second[None])[0])


def test_levels_fit_the_clip():
  assert flow.factors(224, 224) == (8, 4, 2)
  assert flow.factors(256, 384) == (8, 4, 2)
  assert flow.factors(112, 112) == (4, 2, 1)
  assert flow.factors(64, 64) == (2, 1)
  assert flow.factors(32, 32) == (1,)
  assert flow.factors(224, 210) == (2, 1)


def test_medians_are_medians():
  x = np.random.RandomState(0).rand(2, 5, 6).astype(np.float32)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
  windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
  np.testing.assert_array_equal(flow._median(x), np.median(windows, (3, 4)))


def test_no_motion_is_none(view):
  np.testing.assert_array_equal(pair(view(0, 0), view(0, 0)), 0)


def test_a_flat_frame_has_none(view):
  black, white = np.zeros((SIDE, SIDE, 3), np.uint8), view(0, 0) * 0 + 255
  np.testing.assert_array_equal(pair(black, black), 0)
  assert np.isfinite(pair(black, white)).all()


@pytest.mark.parametrize("move", [(1, 0), (0, -3), (5, 2), (-8, 6)])
def test_a_known_shift_is_found(view, move):
  found = pair(view(0, 0), view(*move))
  inside = found[16:-16, 16:-16].reshape(-1, 2)
  assert np.abs(inside - move).max(axis=1).mean() < 0.1
  assert (np.abs(inside - move).max(axis=1) < 0.5).mean() > 0.98


def test_mirrored_frames_have_the_mirrored_flow(view):
  first, second = view(0, 0), view(3, -2)
  found = pair(first[:, ::-1].copy(), second[:, ::-1].copy())
  expected = pair(first, second)[:, ::-1] * [-1, 1]
  assert (np.abs(found - expected).max(-1) < 1e-3).mean() > 0.99


def clip(view):
  return np.stack([view(2 * i, -i) for i in range(5)])


towards = jax.jit(flow.towards, static_argnums=(1,), static_argnames="base")


def test_a_reversed_clip_has_the_flows_reversed(view):
  video = clip(view)
  both = np.stack([video, video[::-1]])
  found, back = np.asarray(towards(both, 2))
  np.testing.assert_allclose(back, found[::-1], atol=1e-5)
  # Towards the base: content has moved less in it than in later frames.
  middle = found[:, 16:-16, 16:-16].mean((1, 2))
  np.testing.assert_allclose(middle[:2], [[2, -1]] * 2, atol=0.1)
  np.testing.assert_allclose(middle[2:], [[-2, 1]] * 2, atol=0.1)


def test_early_flows_may_run_away_from_the_base(view):
  found = flow.towards(clip(view)[None], 2, reverse_early=False)
  middle = np.asarray(found)[0, :, 16:-16, 16:-16].mean((1, 2))
  np.testing.assert_allclose(middle, [[-2, 1]] * 4, atol=0.1)


def test_a_clips_flow_is_its_own(view):
  """However many others are computed with it, and on other devices."""
  videos = np.stack([[view(0, 0, k), view(k, 1, k)] for k in range(8)])
  whole = np.asarray(towards(videos, 1))
  parts = [np.asarray(towards(videos[k : k + 2], 1)) for k in range(0, 8, 2)]
  np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)


def test_products_are_exact_on_every_device(view):
  """Coordinates in bfloat16 would be whole pixels off; gathers are exact."""
  made = jax.make_jaxpr(flow.between)(view(0, 0)[None], view(1, 0)[None])
  highest = (jax.lax.Precision.HIGHEST,) * 2
  products = []

  def walk(jaxpr):
    for equation in jaxpr.eqns:
      if equation.primitive.name == "dot_general":
        products.append(equation.params["precision"])
      for value in jax.tree.leaves(
        equation.params, is_leaf=lambda x: hasattr(x, "eqns")
      ):
        if hasattr(value, "eqns"):
          walk(value)
        elif hasattr(value, "jaxpr"):
          walk(value.jaxpr)

  walk(made.jaxpr)
  assert products
  assert set(products) == {highest}


def test_warps_by_hand():
  image = np.float32([[[1, 2], [3, 4]]])
  move = np.zeros((1, 2, 2, 2), np.float32)
  np.testing.assert_array_equal(warping.warp(image, move), image)
  move[..., 0] = 0.5
  expected = [[[1.5, 2], [3.5, 4]]]
  np.testing.assert_array_equal(warping.warp(image, move), expected)
  faded = [[[1.5, 1], [3.5, 2]]]
  np.testing.assert_array_equal(warping.warp(image, move, zeros=True), faded)
  move[..., 1] = 1e9
  gone = warping.warp(image, move, zeros=True)
  np.testing.assert_array_equal(gone, np.zeros_like(image))


def test_a_finer_grids_flow_is_in_its_own_pixels():
  move = np.full((1, 4, 6, 2), 2, np.float32)
  finer = warping.resized(move, (8, 24))
  np.testing.assert_allclose(finer[..., 0], 8, rtol=1e-6)
  np.testing.assert_allclose(finer[..., 1], 4, rtol=1e-6)
