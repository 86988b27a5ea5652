"""RandAugment for clips: the same operations for all frames of a clip.

timm's "rand-m7-n4-mstd0.5-inc1", which VideoMAE and SIGMA fine-tune with: n
draws, with replacement, from fifteen operations whose strength grows with the
magnitude; each draw is carried out with probability one half. From Cubuk et
al., "RandAugment", 2019, https://arxiv.org/abs/1909.13719.

Where this differs: the published recipe changes the frames before they are
cropped, this the crop; posterize keeps at least one bit; and pictures are
interpolated bicubically, as that recipe asks timm to.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import settings as settings_lib
from sigma_jax.augment import color, geometry, grouped

OPS = (
  *("AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing"),
  *("SolarizeIncreasing", "SolarizeAdd", "ColorIncreasing"),
  *("ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
  *("ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
_MAX_LEVEL = 10.0


class Draws(NamedTuple):
  """What is done to a clip, in order; all of shape [n].

  op: int32, place in OPS. applied: bool. level: float32, in [0, 10]. sign:
  float32, -1 or 1, for operations that have two directions.
  """

  op: jax.Array
  applied: jax.Array
  level: jax.Array
  sign: jax.Array


def draw(key: jax.Array, options: settings_lib.Augment) -> Draws:
  """Draws for one clip: a pure function of the key."""
  n = options.num_ops
  by_op, by_prob, by_level, by_sign = jax.random.split(key, 4)
  level = options.magnitude + options.magnitude_std * jax.random.normal(
    by_level, n
  )
  return Draws(
    op=jax.random.randint(by_op, n, 0, len(OPS)),
    applied=jax.random.bernoulli(by_prob, options.op_prob, n),
    level=jnp.clip(level, 0, _MAX_LEVEL),
    sign=jnp.where(jax.random.bernoulli(by_sign, 0.5, n), 1.0, -1.0),
  )


def apply_each(video: jax.Array, draws: Draws) -> jax.Array:
  """Changes clips, one operation after the other.

  Args:
    video: uint8 [b, t, h, w, 3], of one device.
    draws: of each clip: as from `draw`, of shape [b, n].

  Returns:
    uint8 of the same shape.
  """

  def step(video, one):
    which = jnp.where(one.applied, jnp.asarray(_BRANCH_OF)[one.op], 0)
    return grouped.apply(video, which, _BRANCHES, one), None

  by_step = jax.tree.map(lambda x: x.swapaxes(0, 1), draws)
  return jax.lax.scan(step, video, by_step)[0]


def apply(frames: jax.Array, draws: Draws) -> jax.Array:
  """As `apply_each`, one clip: uint8 [t, h, w, 3] and draws of shape [n]."""
  alone = jax.tree.map(lambda x: x[None], (frames, draws))
  return apply_each(*alone)[0]


def _plain(function):
  return lambda frames, one: function(frames)


def _enhance(function):
  def enhance(frames, one):
    return function(frames, 1 + one.sign * 0.9 * one.level / _MAX_LEVEL)

  return enhance


def _whole(scale, one):
  return (scale * one.level / _MAX_LEVEL).astype(jnp.int32)


def _posterize(frames, one):
  return color.posterize(frames, jnp.maximum(4 - _whole(4, one), 1))


def _solarize(frames, one):
  return color.solarize(frames, 256 - _whole(256, one))


def _solarize_add(frames, one):
  return color.solarize_add(frames, _whole(110, one))


def _rotate(frames, one):
  _, h, w, _ = frames.shape
  amount = one.sign * one.level / _MAX_LEVEL
  return geometry.affine(frames, geometry.rotation(30 * amount, h, w))


def _move_x(frames, one):
  amount = one.sign * one.level / _MAX_LEVEL
  matrix = jnp.where(
    one.op == OPS.index("ShearX"),
    geometry.shear_x(0.3 * amount),
    geometry.translation(0.45 * frames.shape[2] * amount, 0.0),
  )
  return geometry.affine(frames, matrix, along="x")


def _move_y(frames, one):
  amount = one.sign * one.level / _MAX_LEVEL
  matrix = jnp.where(
    one.op == OPS.index("ShearY"),
    geometry.shear_y(0.3 * amount),
    geometry.translation(0.0, 0.45 * frames.shape[1] * amount),
  )
  return geometry.affine(frames, matrix, along="y")


_FUNCTIONS = {
  "AutoContrast": _plain(color.auto_contrast),
  "Equalize": _plain(color.equalize),
  "Invert": _plain(color.invert),
  "PosterizeIncreasing": _posterize,
  "SolarizeIncreasing": _solarize,
  "SolarizeAdd": _solarize_add,
  "ColorIncreasing": _enhance(color.color),
  "ContrastIncreasing": _enhance(color.contrast),
  "BrightnessIncreasing": _enhance(color.brightness),
  "SharpnessIncreasing": _enhance(color.sharpness),
  "Rotate": _rotate,
  "ShearX": _move_x,
  "TranslateXRel": _move_x,
  "ShearY": _move_y,
  "TranslateYRel": _move_y,
}
_BRANCHES = tuple(dict.fromkeys(_FUNCTIONS.values()))  # compiled once each
_BRANCH_OF = tuple(1 + _BRANCHES.index(_FUNCTIONS[name]) for name in OPS)
