"""Random erasing of clips: one box for all frames.

From Zhong et al., "Random Erasing Data Augmentation", 2017,
https://arxiv.org/abs/1708.04896, with the ranges and the cube over all frames
of timm and VideoMAE.
"""

import math

import jax
import jax.numpy as jnp

from sigma_jax.augment import grouped
from sigma_jax.models.vit import IMAGE_MEAN, IMAGE_STD

_MIN_AREA, _MAX_AREA = 0.02, 1 / 3
_MIN_RATIO = 0.3
_TRIES = 10


def draw_box(key: jax.Array, h: int, w: int) -> jax.Array:
  """Top, left, height and width of a box in the frame, int32 [4], pixels.

  The area is uniform in [.02, 1/3] of the frame's, the ratio of height to
  width log-uniform in [.3, 1 / .3]. The first of ten boxes that fits is
  taken; if none does, an empty one.
  """
  by_area, by_ratio, by_top, by_left = jax.random.split(key, 4)
  area = jax.random.uniform(
    by_area, _TRIES, minval=_MIN_AREA * h * w, maxval=_MAX_AREA * h * w
  )
  extent = -math.log(_MIN_RATIO)
  ratio = jnp.exp(
    jax.random.uniform(by_ratio, _TRIES, minval=-extent, maxval=extent)
  )
  sizes = jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], axis=1)
  sizes = jnp.round(sizes).astype(jnp.int32)
  fits = (sizes[:, 0] < h) & (sizes[:, 1] < w)
  height, width = sizes[jnp.argmax(fits)]
  top = jax.random.randint(by_top, (), 0, jnp.maximum(h - height, 0) + 1)
  left = jax.random.randint(by_left, (), 0, jnp.maximum(w - width, 0) + 1)
  box = jnp.stack([top, left, height, width])
  return jnp.where(jnp.any(fits), box, 0)


def erase_each(
  of_clips: jax.Array, video: jax.Array, prob: float, fill: str
) -> jax.Array:
  """Fills one box of each clip with probability `prob`.

  Args:
    of_clips: keys [b], one a clip.
    video: uint8 [b, t, h, w, 3], of one device.
    prob: in [0, 1].
    fill: "pixel": normal noise, of which ImageNet's mean and deviation make
      pixels (what lies outside 0 .. 255 is cut off); "const": that mean.

  Returns:
    uint8 of the same shape.
  """
  split = jax.vmap(lambda key: jax.random.split(key, 3))(of_clips)
  by_chance, by_box, by_fill = split[:, 0], split[:, 1], split[:, 2]
  mean = 255 * jnp.asarray(IMAGE_MEAN, jnp.float32)
  std = 255 * jnp.asarray(IMAGE_STD, jnp.float32)

  def erased(frames, of_clip):
    by_box, by_fill = of_clip
    _, h, w, _ = frames.shape
    top, left, height, width = draw_box(by_box, h, w)
    y, x = jnp.mgrid[:h, :w]
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    filling = mean
    if fill == "pixel":
      filling = mean + std * jax.random.normal(by_fill, frames.shape)
    filling = jnp.round(jnp.clip(filling, 0, 255)).astype(jnp.uint8)
    return jnp.where(inside[..., None], filling, frames)

  chosen = jax.vmap(lambda key: jax.random.bernoulli(key, prob))(by_chance)
  which = chosen.astype(jnp.int32)
  return grouped.apply(video, which, [erased], (by_box, by_fill))


def erase(
  key: jax.Array, frames: jax.Array, prob: float, fill: str
) -> jax.Array:
  """As `erase_each`, one clip: its key and uint8 [t, h, w, 3]."""
  return erase_each(key[None], frames[None], prob, fill)[0]
