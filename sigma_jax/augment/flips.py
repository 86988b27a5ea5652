"""Clips mirrored at random, on the device: on the host each would be copied."""

from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp


def flip(
  key: jax.Array, video: jax.Array, spread: Callable | None = None
) -> jax.Array:
  """Swaps left and right in about half of the clips.

  A pure function of the key, whatever the number of devices.

  Args:
    key: of this step.
    video: uint8 [b, t, h, w, 3], over all devices.
    spread: as for `augment.batches.batch`.
  """

  def local(axes, keys, video):
    del axes
    return jax.vmap(dm_pix.random_flip_left_right)(keys, video)

  count = jnp.arange(video.shape[0])
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, count)
  if spread is None:
    return local((), keys, video)
  return spread(local, split_in=(True, True), split_out=True)(keys, video)
