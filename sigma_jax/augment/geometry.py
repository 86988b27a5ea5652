"""Rotations, shears and translations of all frames of a clip alike.

Pillow's `Image.transform` with bicubic interpolation: what is not in the
picture becomes grey 128, neighbours beyond its edge repeat the edge.
"""

import jax
import jax.numpy as jnp
from einops import rearrange

FILL = 128


def affine(
  frames: jax.Array, matrix: jax.Array, along: str = "xy"
) -> jax.Array:
  """Takes each pixel from where an affine map puts it.

  Args:
    frames: uint8 [t, h, w, 3].
    matrix: float32 [2, 3]; pixel (x, y) of the result, counted from the upper
      left corner of the picture (the first pixel's centre is at .5), comes
      from matrix @ (x, y, 1) of the input.
    along: "x" or "y" where pixels move along this axis alone, so that the
      matrix has nothing else: a quarter of the work, the same numbers.

  Returns:
    uint8 of the same shape.
  """
  t, h, w, _ = frames.shape
  y, x = jnp.mgrid[:h, :w].astype(jnp.float32) + 0.5
  from_x, from_y = (a * x + b * y + shift for a, b, shift in matrix)
  inside = (from_x >= 0) & (from_x < w) & (from_y >= 0) & (from_y < h)
  columns, across = _neighbours(from_x, w)
  rows, down = _neighbours(from_y, h)
  # A pixel's values in all frames lie together: one index fetches them all.
  pixels = rearrange(frames, "t h w c -> (h w) (t c)")

  def pixel(row, column):
    return pixels[row * w + column].astype(jnp.float32)

  def line(row):
    if along == "y":  # each pixel in the middle of its column: the second
      return pixel(row, columns[1])
    return _cubic(*(pixel(row, column) for column in columns), across)

  total = line(rows[1]) if along == "x" else _cubic(*map(line, rows), down)
  total = jnp.where(inside.reshape(-1, 1), jnp.clip(total, 0, 255), FILL)
  return rearrange(total.astype(jnp.uint8), "(h w) (t c) -> t h w c", h=h, t=t)


def _neighbours(position, size):
  """Four places along an axis, int32, and where between the inner two."""
  position = position.reshape(-1) - 0.5
  before = jnp.floor(position)
  first = before.astype(jnp.int32) - 1
  places = [jnp.clip(first + i, 0, size - 1) for i in range(4)]
  return places, (position - before)[:, None]


def _cubic(a, b, c, d, x):
  """Keys' kernel with -1, written so that equal values stay what they are."""
  return b + x * (c - a + x * (2 * (a - b) + c - d + x * (b - a + d - c)))


def rotation(degrees: jax.Array, h: int, w: int) -> jax.Array:
  """Matrix that turns the picture counter-clockwise about its centre."""
  angle = -jnp.deg2rad(degrees)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  x, y = w / 2, h / 2
  return jnp.asarray(
    [[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y]]
  )


def shear_x(factor: jax.Array) -> jax.Array:
  """Matrix that takes row y from `factor` y further to the right."""
  return jnp.eye(2, 3).at[0, 1].set(factor)


def shear_y(factor: jax.Array) -> jax.Array:
  """Matrix that takes column x from `factor` x further down."""
  return jnp.eye(2, 3).at[1, 0].set(factor)


def translation(x: jax.Array | float, y: jax.Array | float) -> jax.Array:
  """Matrix that takes pixels from x further right and y further down."""
  return jnp.eye(2, 3).at[:, 2].set(jnp.asarray([x, y], jnp.float32))
