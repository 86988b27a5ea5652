"""Each operation gives what Pillow gives on each frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ImageEnhance, ImageOps

from sigma_jax.augment import color

CASES = [
  (color.auto_contrast, None, ImageOps.autocontrast),
  (color.equalize, None, ImageOps.equalize),
  (color.invert, None, ImageOps.invert),
]
CASES += [
  (color.posterize, bits, lambda im, n=bits: ImageOps.posterize(im, n))
  for bits in (1, 2, 4, 8)
]
CASES += [
  (color.solarize, at, lambda im, n=at: ImageOps.solarize(im, n))
  for at in (0, 77, 128, 256)
]
CASES += [
  (function, factor, lambda im, e=enhance, f=factor: e(im).enhance(f))
  for factor in (0.1, 0.37, 1.0, 1.63, 1.9)
  for function, enhance in (
    (color.color, ImageEnhance.Color),
    (color.contrast, ImageEnhance.Contrast),
    (color.brightness, ImageEnhance.Brightness),
    (color.sharpness, ImageEnhance.Sharpness),
  )
]


@pytest.mark.parametrize(
  ("function", "argument", "pillow"),
  CASES,
  ids=[f"{function.__name__}-{argument}" for function, argument, _ in CASES],
)
def test_as_pillow(frames, by_pillow, assert_close, function, argument, pillow):
  arguments = [] if argument is None else [jnp.asarray(argument)]
  found = jax.jit(function)(frames, *arguments)
  # Pillow cuts a quotient that may lie just below a whole number.
  share = 0.05 if function is color.auto_contrast else 1e-3
  assert_close(found, by_pillow(pillow, frames), share)


def test_accelerators_count_and_look_up_without_scatter(frames):
  """The same numbers; and what is compiled for TPUs has none."""
  counts = color.count_by_comparing(frames)
  np.testing.assert_array_equal(counts, color.count_one_by_one(frames))
  for number, frame in enumerate(frames):
    wanted = np.bincount(frame[..., 1].reshape(-1), minlength=256)
    np.testing.assert_array_equal(counts[3 * number + 1], wanted)
  levels = np.random.default_rng(0).integers(0, 256, (12, 256), np.uint8)
  looked_up = color.look_up_one_by_one(frames, jnp.asarray(levels))
  found = color.look_up_by_comparing(frames, levels)
  np.testing.assert_array_equal(found, looked_up)
  np.testing.assert_array_equal(
    found[2, ..., 0], levels[6][frames[2, ..., 0].astype(int)]
  )
  traced = jax.jit(color.equalize).trace(frames)
  for platform, scatters in (("cpu", True), ("tpu", False), ("cuda", False)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.scatter" in text) == scatters


def test_auto_contrast_by_hand():
  frames = np.zeros((1, 1, 3, 3), np.uint8)
  frames[0, 0, :, 0] = 50, 60, 100
  frames[0, 0, :, 1] = 9
  frames[0, 0, :, 2] = 0, 128, 255
  found = np.asarray(jax.jit(color.auto_contrast)(frames))
  assert found[0, 0, :, 0].tolist() == [0, 51, 255]
  assert found[0, 0, :, 1].tolist() == [9, 9, 9]
  assert found[0, 0, :, 2].tolist() == [0, 128, 255]


def test_solarize_add():
  values = np.arange(256, dtype=np.uint8)
  frames = np.stack([values] * 3, axis=-1)[None, None]
  found = np.asarray(jax.jit(color.solarize_add)(frames, 77))
  wanted = np.where(
    values < 128, np.minimum(values.astype(int) + 77, 255), values
  )
  np.testing.assert_array_equal(found[0, 0, :, 1], wanted)


def test_every_frame_by_itself(frames):
  for function in (color.auto_contrast, color.equalize):
    function = jax.jit(function)
    found = np.asarray(function(frames))
    for number, frame in enumerate(frames):
      alone = function(frame[None])
      np.testing.assert_array_equal(found[number], alone[0])
