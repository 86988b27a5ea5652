"""Colours of a video's views, changed at random, on the device.

What SwAV and DINO do to images (main_swav.py and main_dino.py of their codes:
torchvision's ColorJitter, RandomGrayscale, a Gaussian blur, solarisation), and
their followers on video to clips: the same for all frames of a clip.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import keys
from sigma_jax import settings as settings_lib
from sigma_jax.augment import color, grouped

_OPERATIONS = 4  # of the jitter: brightness, contrast, saturation, hue
_THRESHOLD = 128  # from which solarisation inverts
_REACH = 4.0  # of the blur, in deviations


class Draws(NamedTuple):
  """What is done to a clip.

  jitter, grey, blur, solarize: bool. order: int32 [4], the jitter's operations
  as they follow one another. amounts: float32 [4], of each operation: three
  factors, and turns of hue. deviation: float32, of the blur, pixels.
  """

  jitter: jax.Array
  order: jax.Array
  amounts: jax.Array
  grey: jax.Array
  blur: jax.Array
  deviation: jax.Array
  solarize: jax.Array


def draw(key: jax.Array, options: settings_lib.Colours) -> Draws:
  """Draws for one clip: a pure function of the key."""
  which, order, amounts, deviation = jax.random.split(key, 4)
  chances = (
    options.jitter_prob,
    options.grey_prob,
    options.blur_prob,
    options.solarize_prob,
  )
  jitter, grey, blur, solarize = jax.random.bernoulli(
    which, jnp.asarray(chances, jnp.float32), (len(chances),)
  )
  strengths = jnp.asarray(options.jitter, jnp.float32)
  middle = jnp.asarray([1.0, 1.0, 1.0, 0.0], jnp.float32)
  spread = jax.random.uniform(amounts, (_OPERATIONS,), minval=-1.0, maxval=1.0)
  low, high = options.blur
  return Draws(
    jitter=jitter,
    order=jax.random.permutation(order, _OPERATIONS),
    amounts=middle + strengths * spread,
    grey=grey,
    blur=blur,
    deviation=jax.random.uniform(deviation, minval=low, maxval=high),
    solarize=solarize,
  )


def change(
  key: jax.Array,
  clips: jax.Array,
  options: settings_lib.Colours,
  spread: Callable | None = None,
) -> jax.Array:
  """Clips in other colours: a pure function of the key and a clip's place.

  Args:
    key: of this step's views.
    clips: uint8 [b, t, h, w, 3], over all devices.
    options: how.
    spread: as for `augment.batches.batch`.

  Returns:
    uint8 of the same shape.
  """

  def local(axes, draws, clips):
    del axes
    return apply_each(clips, draws, options)

  of_clips = keys.each(key, jnp.arange(len(clips)))
  draws = jax.vmap(lambda key: draw(key, options))(of_clips)
  if spread is None:
    return local((), draws, clips)
  split = jax.tree.map(lambda _: True, draws)
  return spread(local, split_in=(split, True), split_out=True)(draws, clips)


def apply_each(
  clips: jax.Array, draws: Draws, options: settings_lib.Colours
) -> jax.Array:
  """Clips, uint8 [b, t, h, w, 3], changed by draws of shape [b, ...]."""
  if options.jitter_prob:

    def one(clips, place):
      operation = draws.order[:, place]
      which = jnp.where(draws.jitter, 1 + operation, 0)
      amount = jnp.take_along_axis(draws.amounts, operation[:, None], axis=1)
      return grouped.apply(clips, which, _JITTER, amount[:, 0]), None

    clips, _ = jax.lax.scan(one, clips, jnp.arange(_OPERATIONS))
  parts = (
    (options.grey_prob, draws.grey, grey, draws.deviation),
    (options.blur_prob, draws.blur, _blur(options), draws.deviation),
    (options.solarize_prob, draws.solarize, _solarize, draws.deviation),
  )
  for chance, chosen, function, argument in parts:
    if chance:
      which = chosen.astype(jnp.int32)
      clips = grouped.apply(clips, which, (function,), argument)
  return clips


def grey(frames: jax.Array, _: jax.Array) -> jax.Array:
  """Without colour: each pixel's luma three times."""
  return color.color(frames, jnp.float32(0))


def blur(frames: jax.Array, deviation: jax.Array, widest: float) -> jax.Array:
  """A Gaussian along rows and columns; pixels beyond an edge repeat it.

  Args:
    frames: uint8 [t, h, w, 3].
    deviation: float32 scalar, pixels.
    widest: the largest that it can be.
  """
  reach = int(_REACH * widest) + 1
  x = frames.astype(jnp.float32)
  down, across = (
    _smoothing(size, deviation, reach) for size in frames.shape[1:3]
  )
  x = jnp.einsum("ij,tjwc->tiwc", down, x, precision="highest")
  x = jnp.einsum("ij,thjc->thic", across, x, precision="highest")
  return jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)


def _smoothing(size: int, deviation: jax.Array, reach: int) -> jax.Array:
  """float32 [size, size]: what each pixel takes of every other."""
  offsets = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
  weights = jnp.exp(-0.5 * jnp.square(offsets / deviation))
  weights /= jnp.sum(weights)
  places = jnp.arange(size)
  total = jnp.zeros((size, size), jnp.float32)
  for number in range(2 * reach + 1):
    taken = jnp.clip(places + (number - reach), 0, size - 1)
    total += weights[number] * (taken[:, None] == places).astype(jnp.float32)
  return total


def _blur(options: settings_lib.Colours) -> Callable:
  widest = options.blur[1]
  return lambda frames, deviation: blur(frames, deviation, widest)


def _solarize(frames, _):
  return color.solarize(frames, jnp.int32(_THRESHOLD))


_JITTER = (color.brightness, color.contrast, color.color, color.hue)
