"""The whole recipe for one training batch of a supervised task."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sigma_jax import keys
from sigma_jax import settings as settings_lib
from sigma_jax.augment import erasing, mixing, randaugment


def batch(
  key: jax.Array,
  video: jax.Array,
  labels: jax.Array,
  num_classes: int,
  options: settings_lib.Augment,
  *,
  samples: int = 1,
  spread: Callable | None = None,
) -> tuple[jax.Array, jax.Array]:
  """RandAugment, erasing, label smoothing and mixing of a global batch.

  A pure function of the key and the clips' places in the batch, whatever the
  devices. To be jitted, as a part of the step.

  Args:
    key: of this step, see `keys.of_step`.
    video: uint8 [b, t, h, w, 3], cropped and flipped; over all devices.
    labels: int32 [b].
    num_classes: of the task.
    options: the settings' `augment`.
    samples: clips of one video that lie next to each other: data.samples.
    spread: makes a function of one device's rows one of the whole batch, see
      `train.mesh.over_batch`; None where there is one device.

  Returns:
    uint8 [b, t, h, w, 3] and targets, float32 [b, num_classes], whose rows sum
    to 1.

  Raises:
    UserError: mixing is on and the batch has an odd number of videos.
  """
  video = clips(key, video, options, spread)
  targets = mixing.smooth_labels(labels, num_classes, options.label_smoothing)
  of_mixing = keys.of(key, keys.Use.MIX)
  return mixing.mix(of_mixing, video, targets, options, samples)


def clips(
  key: jax.Array,
  video: jax.Array,
  options: settings_lib.Augment,
  spread: Callable | None = None,
) -> jax.Array:
  """The part that changes each clip by itself; arguments as for `batch`."""
  count = jnp.arange(video.shape[0])
  by_ops, by_box = (
    keys.each(keys.of(key, use), count)
    for use in (keys.Use.OPERATIONS, keys.Use.ERASE)
  )

  def local(axes, by_ops, by_box, video):
    del axes
    if options.num_ops:
      draws = jax.vmap(lambda key: randaugment.draw(key, options))(by_ops)
      video = randaugment.apply_each(video, draws)
    if options.erase_prob:
      video = erasing.erase_each(
        by_box, video, options.erase_prob, options.erase_fill
      )
    return video

  run = functools.partial(local, ())
  if spread is not None:
    run = spread(local, split_in=(True, True, True), split_out=True)
  return run(by_ops, by_box, video)
