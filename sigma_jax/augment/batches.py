"""The whole recipe for one training batch of a supervised task."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

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

  A pure function of the key, whatever the number of devices. To be jitted,
  as a part of the step.

  Args:
    key: of this step, such as fold_in(key, step).
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
  by_clip, by_pair = jax.random.split(key)
  video = clips(by_clip, video, options, spread)
  targets = mixing.smooth_labels(labels, num_classes, options.label_smoothing)
  return mixing.mix(by_pair, video, targets, options, samples)


def clips(
  key: jax.Array,
  video: jax.Array,
  options: settings_lib.Augment,
  spread: Callable | None = None,
) -> jax.Array:
  """The part that changes each clip by itself; arguments as for `batch`."""
  count = jnp.arange(video.shape[0])
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, count)

  def local(axes, keys, video):
    del axes
    # One after the other, so that only what is drawn is computed.
    return jax.lax.map(lambda one: _clip(*one, options), (keys, video))

  run = functools.partial(local, ())
  if spread is not None:
    run = spread(local, split_in=(True, True), split_out=True)
  return run(keys, video)


def _clip(key, frames, options):
  by_ops, by_box = jax.random.split(key)
  if options.num_ops:
    frames = randaugment.apply(frames, randaugment.draw(by_ops, options))
  if options.erase_prob:
    frames = erasing.erase(
      by_box, frames, options.erase_prob, options.erase_fill
    )
  return frames
