"""Images carried along a flow, by bilinear interpolation.

A flow is float32 [..., h, w, 2], x (to the right) then y (down) in pixels: what
stands at a pixel of one frame stands at that pixel plus its flow in another.
"""

import jax
import jax.numpy as jnp


def warp(image: jax.Array, flow: jax.Array, *, zeros: bool = False):
  """The image at every pixel plus its flow: a backward warp.

  In float32 throughout: bfloat16 coordinates are whole pixels above 256.

  Args:
    image: float32 [n, h, w].
    flow: float32 [n, h, w, 2].
    zeros: whether the image is 0 outside, so that its border fades over one
      pixel; else its border's values go on outside.

  Returns:
    float32 [n, h, w].
  """
  n, height, width = image.shape
  x = flow[..., 0] + jnp.arange(width, dtype=jnp.float32)
  y = flow[..., 1] + jnp.arange(height, dtype=jnp.float32)[:, None]
  # Far outside is as good as just outside, and fits an integer.
  x = jnp.clip(x, -1.0, float(width))
  y = jnp.clip(y, -1.0, float(height))
  if not zeros:
    x = jnp.clip(x, 0.0, width - 1.0)
    y = jnp.clip(y, 0.0, height - 1.0)
  left, top = jnp.floor(x), jnp.floor(y)
  flat = image.reshape(n, height * width)

  def corner(column, row):
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    weight = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row))
    column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
    row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
    place = (row * width + column).reshape(n, height * width)
    value = jnp.take_along_axis(flat, place, axis=1).reshape(image.shape)
    return jnp.where(inside, weight * value, 0.0)

  return (
    corner(left, top)
    + corner(left + 1, top)
    + corner(left, top + 1)
    + corner(left + 1, top + 1)
  )


def resized(flow: jax.Array, size: tuple[int, int]) -> jax.Array:
  """A flow on a grid of other pixels, in those pixels.

  Args:
    flow: float32 [n, h, w, 2].
    size: height and width of the new grid.
  """
  n, height, width, _ = flow.shape
  if (height, width) == size:
    return flow
  scale = jnp.array([size[1] / width, size[0] / height], jnp.float32)
  return jax.image.resize(flow, (n, *size, 2), "linear") * scale
