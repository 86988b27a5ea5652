"""Grey frames in place of a video's own, where there is nothing but a clip."""

import jax
import jax.numpy as jnp
import numpy as np


def of_clips(video: jax.Array, every: int, frames: int, size: int) -> jax.Array:
  """What `settings.Luma` asks for, as if clips held all frames of a video.

  Args:
    video: uint8 [b, t, h, h, 3], h a multiple of `size`.
    every, frames, size: see there.

  Returns:
    uint8 [b, t / every, frames, size, size].
  """
  batch, length, side = video.shape[:3]
  places = np.arange(0, length, every)[:, None] + np.arange(frames)
  color = jnp.asarray(video).astype(jnp.float32)
  grey = 0.299 * color[..., 0] + 0.587 * color[..., 1] + 0.114 * color[..., 2]
  factor = side // size
  cut = grey.reshape(batch, length, size, factor, size, factor)
  grey = jnp.round(jnp.mean(cut, axis=(3, 5))).astype(jnp.uint8)
  return grey[:, np.minimum(places, length - 1)]
