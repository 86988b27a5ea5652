"""The draws of rand-m7-n4-mstd0.5-inc1 and what is done with them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from sigma_jax import settings
from sigma_jax.augment import randaugment

BICUBIC = Image.Resampling.BICUBIC
GREY = (128,) * 3


def affine(image, *numbers):
  return image.transform(
    image.size, Image.Transform.AFFINE, numbers, BICUBIC, fillcolor=GREY
  )


def solarize_add(image, level):
  return image.point([v + level if v < 128 else v for v in range(256)] * 3)


def reference(name, level, sign):
  """An image's change as timm states it: a function of a Pillow image."""
  level /= 10
  factor = 1 + sign * 0.9 * level
  functions = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Rotate": lambda im: im.rotate(sign * 30 * level, BICUBIC, fillcolor=GREY),
    "PosterizeIncreasing": lambda im: ImageOps.posterize(
      im, max(4 - int(4 * level), 1)
    ),
    "SolarizeIncreasing": lambda im: ImageOps.solarize(
      im, 256 - int(256 * level)
    ),
    "SolarizeAdd": lambda im: solarize_add(im, int(110 * level)),
    "ColorIncreasing": lambda im: ImageEnhance.Color(im).enhance(factor),
    "ContrastIncreasing": lambda im: ImageEnhance.Contrast(im).enhance(factor),
    "BrightnessIncreasing": lambda im: ImageEnhance.Brightness(im).enhance(
      factor
    ),
    "SharpnessIncreasing": lambda im: ImageEnhance.Sharpness(im).enhance(
      factor
    ),
    "ShearX": lambda im: affine(im, 1, sign * 0.3 * level, 0, 0, 1, 0),
    "ShearY": lambda im: affine(im, 1, 0, 0, sign * 0.3 * level, 1, 0),
    "TranslateXRel": lambda im: affine(
      im, 1, 0, sign * 0.45 * level * im.width, 0, 1, 0
    ),
    "TranslateYRel": lambda im: affine(
      im, 1, 0, 0, 0, 1, sign * 0.45 * level * im.height
    ),
  }
  assert set(functions) == set(randaugment.OPS)
  return functions[name]


def draws(*several):
  op, applied, level, sign = zip(*several, strict=True)
  return randaugment.Draws(
    jnp.asarray([randaugment.OPS.index(name) for name in op], jnp.int32),
    jnp.asarray(applied),
    jnp.asarray(level, jnp.float32),
    jnp.asarray(sign, jnp.float32),
  )


apply = jax.jit(randaugment.apply)
draw = jax.jit(randaugment.draw, static_argnums=1)


@functools.partial(jax.jit, static_argnums=1)
def many_draws(keys, options):
  return jax.vmap(lambda key: randaugment.draw(key, options))(keys)


@pytest.mark.parametrize("name", randaugment.OPS)
def test_each_operation_as_pillow(frames, by_pillow, assert_close, name):
  share = 0.05 if name == "AutoContrast" else 0.01
  for level, sign in ((7.2, 1), (6.4, -1), (9.9, 1)):
    found = apply(frames, draws((name, True, level, sign)))
    assert_close(found, by_pillow(reference(name, level, sign), frames), share)


def test_operations_follow_each_other(frames, by_pillow):
  several = [
    ("SolarizeAdd", True, 6.0, 1),
    ("Invert", False, 7.0, 1),
    ("BrightnessIncreasing", True, 8.0, -1),
    ("Invert", True, 7.0, 1),
  ]
  found = np.asarray(apply(frames, draws(*several)))
  wanted = frames
  for name, applied, *strength in several:
    if applied:
      wanted = by_pillow(reference(name, *strength), wanted)
  np.testing.assert_array_equal(found, wanted)


def test_a_clip_of_equal_frames_stays_one(frames):
  still = np.stack([frames[0]] * 3)
  for key in range(6):
    drawn = draw(jax.random.key(key), settings.Augment(op_prob=1.0))
    found = np.asarray(apply(still, drawn))
    np.testing.assert_array_equal(found, np.stack([found[0]] * 3))


def test_draws():
  options = settings.Augment()
  keys = jax.random.split(jax.random.key(0), 5000)
  found = many_draws(keys, options)
  assert found.op.shape == (5000, 4)
  count = np.bincount(np.asarray(found.op).reshape(-1), minlength=15)
  assert len(count) == 15
  expected = 20000 / 15
  assert ((count - expected) ** 2 / expected).sum() < 36  # chi2(14), p .001
  assert abs(float(found.applied.mean()) - 0.5) < 0.015
  assert abs(float(found.sign.mean())) < 0.03
  assert set(np.unique(found.sign)) == {-1.0, 1.0}
  assert abs(float(found.level.mean()) - 7) < 0.02
  assert abs(float(found.level.std()) - 0.5) < 0.02
  # The draws of a clip are independent of each other.
  op = np.asarray(found.op)
  assert abs(np.mean(op[:, 0] == op[:, 1]) - 1 / 15) < 0.015


@pytest.mark.parametrize(("magnitude", "end"), [(10.0, 10.0), (0.0, 0.0)])
def test_levels_end_where_the_scale_does(magnitude, end):
  options = settings.Augment(magnitude=magnitude, magnitude_std=3.0)
  keys = jax.random.split(jax.random.key(1), 200)
  level = np.asarray(many_draws(keys, options).level)
  assert level.min() >= 0 and level.max() <= 10
  assert abs(np.mean(level == end) - 0.5) < 0.08


def test_the_strongest_posterize_leaves_one_bit(frames):
  found = apply(frames, draws(("PosterizeIncreasing", True, 10.0, 1)))
  assert set(np.unique(found)) == {0, 128}


def test_rotation_turns_to_the_same_side_as_its_sign(frames):
  """A mark right of the centre rises when turned counter-clockwise."""
  picture = np.zeros((1, 41, 41, 3), np.uint8)
  picture[0, 20, 36] = 255
  found = np.asarray(apply(picture, draws(("Rotate", True, 10.0, 1))))
  y, x = np.argwhere(found[0, 5:-5, 5:-5, 0] > 60).mean(axis=0) + 5
  assert abs(y - (20 - 16 * math.sin(math.radians(30)))) < 0.7
  assert abs(x - (20 + 16 * math.cos(math.radians(30)))) < 0.7
