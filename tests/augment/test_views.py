"""Colours of views: what each operation gives, and what draws depend on."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sigma_jax import settings as settings_lib
from sigma_jax.augment import color, views
from sigma_jax.train import mesh as mesh_lib

NOTHING = settings_lib.Colours(
  jitter_prob=0.0, grey_prob=0.0, blur_prob=0.0, solarize_prob=0.0
)
ALL = settings_lib.Colours(0.8, (0.4, 0.4, 0.2, 0.1), 0.4, 0.5, (0.1, 1.0), 0.3)


@pytest.fixture(scope="module", name="clips")
def clips_fixture():
  """uint8 [8, 2, 12, 12, 3], noise."""
  shape = (8, 2, 12, 12, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@functools.cache
def changed(options, devices=1):
  """The compiled function of a key and clips."""
  spread = None
  if devices > 1:
    mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:devices])
    spread = mesh_lib.over_batch(mesh)
  return jax.jit(lambda key, x: views.change(key, x, options, spread))


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.0, 0.07, 1 / 3, 0.5])
def test_hue_turns_the_colour_wheel(clips, turns):
  frames = clips[0]
  found = np.asarray(color.hue(jnp.asarray(frames), jnp.float32(turns)))
  for pixel, ours in zip(
    frames.reshape(-1, 3), found.reshape(-1, 3), strict=True
  ):
    h, s, v = colorsys.rgb_to_hsv(*(pixel / 255.0))
    wanted = np.array(colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)) * 255
    assert np.abs(ours - wanted).max() <= 0.501
  grey = np.full((1, 2, 2, 3), 77, np.uint8)
  np.testing.assert_array_equal(color.hue(grey, jnp.float32(turns)), grey)


@pytest.mark.parametrize("deviation", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian_with_repeated_edges(clips, deviation):
  frames = clips[0]
  found = views.blur(jnp.asarray(frames), jnp.float32(deviation), 2.0)
  reach = 9
  offsets = np.arange(-reach, reach + 1)
  weights = np.exp(-0.5 * (offsets / deviation) ** 2)
  weights /= weights.sum()
  wanted = frames.astype(np.float64)
  for axis in (1, 2):
    pad = [(0, 0)] * 4
    pad[axis] = (reach, reach)
    wide = np.pad(wanted, pad, mode="edge")
    wanted = np.apply_along_axis(
      lambda line: np.convolve(line, weights, "valid"), axis, wide
    )
  assert np.abs(np.asarray(found) - wanted).max() <= 0.51


def test_grey_and_solarised_are_pillows(clips):
  always = {"grey_prob": 1.0, "solarize_prob": 1.0}
  options = settings_lib.Colours(0.0, blur_prob=0.0, **always)
  found = np.asarray(changed(options)(jax.random.key(0), clips))
  for ours, frame in zip(
    found.reshape(-1, 12, 12, 3), clips.reshape(-1, 12, 12, 3), strict=True
  ):
    luma = np.asarray(Image.fromarray(frame).convert("L"))
    wanted = np.where(luma < 128, luma, 255 - luma)
    np.testing.assert_array_equal(ours, np.stack([wanted] * 3, -1))


def test_draws_have_the_shares_and_ranges_asked_for():
  keys = jax.random.split(jax.random.key(0), 2000)
  draws = jax.jit(jax.vmap(lambda key: views.draw(key, ALL)))(keys)
  for found, share in zip(
    (draws.jitter, draws.grey, draws.blur, draws.solarize),
    (0.8, 0.4, 0.5, 0.3),
    strict=True,
  ):
    assert abs(float(found.mean()) - share) < 0.05
  reach = np.array(ALL.jitter)
  middle = np.array([1, 1, 1, 0])
  low, high = np.min(draws.amounts, axis=0), np.max(draws.amounts, axis=0)
  np.testing.assert_allclose(low, middle - reach, atol=0.01)
  np.testing.assert_allclose(high, middle + reach, atol=0.01)
  assert 0.1 <= draws.deviation.min() <= draws.deviation.max() <= 1.0
  orders = {tuple(order) for order in np.asarray(draws.order)}
  assert len(orders) == 24  # all of four operations


def test_a_clips_frames_are_changed_alike(clips):
  still = np.repeat(clips[:, :1], 2, axis=1)
  found = np.asarray(changed(ALL)(jax.random.key(1), still))
  np.testing.assert_array_equal(found[:, 0], found[:, 1])
  assert np.any(found != still)


def test_eight_devices_change_what_one_does(clips):
  one = changed(ALL)(jax.random.key(2), clips)
  many = changed(ALL, 8)(jax.random.key(2), clips)
  np.testing.assert_array_equal(one, many)


def test_nothing_asked_for_changes_nothing(clips):
  found = changed(NOTHING)(jax.random.key(0), clips)
  np.testing.assert_array_equal(found, clips)
