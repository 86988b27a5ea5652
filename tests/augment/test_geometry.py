"""Pictures move as Pillow moves them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sigma_jax.augment import geometry

GREY = (geometry.FILL,) * 3
BICUBIC = Image.Resampling.BICUBIC


def affine(*numbers):
  return lambda image: image.transform(
    image.size, Image.Transform.AFFINE, numbers, BICUBIC, fillcolor=GREY
  )


moved = jax.jit(geometry.affine)


CASES = {
  "shear_x": (geometry.shear_x, (0.21,), affine(1, 0.21, 0, 0, 1, 0)),
  "shear_x-": (geometry.shear_x, (-0.3,), affine(1, -0.3, 0, 0, 1, 0)),
  "shear_y": (geometry.shear_y, (0.17,), affine(1, 0, 0, 0.17, 1, 0)),
  "translate_x": (
    geometry.translation,
    (11.3, 0.0),
    affine(1, 0, 11.3, 0, 1, 0),
  ),
  "translate_y": (
    geometry.translation,
    (0.0, -7.6),
    affine(1, 0, 0, 0, 1, -7.6),
  ),
  "out": (geometry.translation, (99.0, 0.0), affine(1, 0, 99, 0, 1, 0)),
}
for angle in (0.0, 21.0, -3.3, 170.0):
  CASES[f"rotate{angle}"] = (
    lambda angle: geometry.rotation(angle, 40, 56),
    (angle,),
    lambda image, angle=angle: image.rotate(angle, BICUBIC, fillcolor=GREY),
  )


@pytest.mark.parametrize("name", CASES)
def test_as_pillow(frames, by_pillow, assert_close, name):
  function, arguments, pillow = CASES[name]
  matrix = function(*(jnp.float32(x) for x in arguments))
  found = moved(frames, matrix)
  assert_close(found, by_pillow(pillow, frames), share=0.01)


def test_by_hand(frames):
  shifted = np.asarray(moved(frames, geometry.translation(5.0, -3.0)))
  np.testing.assert_array_equal(shifted[:, 3:, :-5], frames[:, :-3, 5:])
  assert (shifted[:, :3] == 128).all() and (shifted[:, :, -5:] == 128).all()
  sheared = np.asarray(moved(frames, geometry.shear_x(jnp.float32(2))))
  for y in range(6):  # row y comes from 2 (y + 1/2) to the right
    shift = 2 * y + 1
    np.testing.assert_array_equal(
      sheared[:, y, : 56 - shift], frames[:, y, shift:]
    )


def test_along_one_axis_is_the_same_bit_by_bit(frames):
  along = jax.jit(geometry.affine, static_argnames="along")
  for axis, matrices in (
    ("x", (geometry.shear_x(0.21), geometry.translation(-7.3, 0.0))),
    ("y", (geometry.shear_y(-0.3), geometry.translation(0.0, 3.45))),
  ):
    for matrix in matrices:
      np.testing.assert_array_equal(
        along(frames, matrix, along=axis), moved(frames, matrix)
      )


def test_half_a_pixel_by_hand():
  """Keys' kernel with a = -1 at 1/2: (-1, 5, 5, -1) / 8."""
  row = np.asarray([0, 0, 80, 160, 80, 80, 80], np.uint8)
  frames = np.broadcast_to(row[:, None], (1, 1, 7, 3))
  found = moved(frames, geometry.translation(0.5, 0.0))
  # Between 0 and 80: (-0 + 0 + 400 - 160) / 8 = 30. The last is half out.
  assert np.asarray(found)[0, 0, :, 0].tolist() == [
    0,
    30,
    140,
    130,
    70,
    80,
    128,
  ]
