"""Clips mirrored at random, on the device: on the host each would be copied."""

from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp

from sigma_jax import keys


def flip(
  key: jax.Array, video: jax.Array, spread: Callable | None = None
) -> jax.Array:
  """Swaps left and right in about half of the clips.

  A pure function of the key and of the clip's place in the batch.

  Args:
    key: of this step's mirroring.
    video: uint8 [b, ..., h, w, c], over all devices.
    spread: as for `augment.batches.batch`.
  """

  def local(axes, of_clips, video):
    del axes
    return jax.vmap(dm_pix.random_flip_left_right)(of_clips, video)

  of_clips = keys.each(key, jnp.arange(video.shape[0]))
  if spread is None:
    return local((), of_clips, video)
  return spread(local, split_in=(True, True), split_out=True)(of_clips, video)
