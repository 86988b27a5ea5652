"""Mixup, cutmix and label smoothing of neighbours in the batch.

From Zhang et al., "mixup", 2017, https://arxiv.org/abs/1710.09412, and Yun et
al., "CutMix", 2019, https://arxiv.org/abs/1905.04899, with timm's switch
between them. timm mixes each clip with the one at the other end of its
device's batch and draws once for all. Here each pair of neighbouring videos
of the global batch has a draw of its own. Rows on the mesh are in the order of
the global batch (see `train.mesh.rows`), so who meets whom does not depend on
devices or hosts; and as long as each device has an even number of videos no
pixel leaves it. Where it has one, neighbours on the mesh exchange theirs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from sigma_jax import errors, keys
from sigma_jax import settings as settings_lib


class Draw(NamedTuple):
  """How a pair is mixed.

  weight: float32 scalar, of a clip's own pixels where the box is not.
  box: int32 [4]: top, left, bottom and right of what its partner fills;
    empty for mixup.
  label: float32 scalar, share of the clip's own label.
  """

  weight: jax.Array
  box: jax.Array
  label: jax.Array


def draw(key: jax.Array, options: settings_lib.Augment, h: int, w: int) -> Draw:
  """One pair's draw: a pure function of the key.

  With lambda from Beta(alpha, alpha), mixup weighs by it and cutmix pastes a
  box of (1 - lambda) of the frame around a uniform centre. What of the box
  lies outside is lost, and the labels follow what is left.
  """
  by_kind, by_mixup, by_cutmix, by_y, by_x = jax.random.split(key, 5)
  cut = jax.random.bernoulli(by_kind, _cutmix_prob(options))
  weight, share = jnp.float32(1), jnp.float32(1)
  box = jnp.zeros(4, jnp.int32)
  if options.mixup:
    weight = jax.random.beta(by_mixup, options.mixup, options.mixup)
  if options.cutmix:
    share = jax.random.beta(by_cutmix, options.cutmix, options.cutmix)
    side = jnp.sqrt(1 - share)
    down, across = ((side * n).astype(jnp.int32) // 2 for n in (h, w))
    y = jax.random.randint(by_y, (), 0, h)
    x = jax.random.randint(by_x, (), 0, w)
    box = jnp.stack([y - down, x - across, y + down, x + across])
    box = jnp.clip(box, 0, jnp.asarray([h, w, h, w]))
  area = (box[2] - box[0]) * (box[3] - box[1])
  kept = 1 - area.astype(jnp.float32) / (h * w)
  return Draw(
    weight=jnp.where(cut, 1.0, weight),
    box=jnp.where(cut, box, 0),
    label=jnp.where(cut, kept, weight),
  )


def _cutmix_prob(options):
  if options.mixup and options.cutmix:
    return options.switch_prob
  return float(options.cutmix > 0)


def smooth_labels(
  labels: jax.Array, num_classes: int, smoothing: float
) -> jax.Array:
  """int32 [b] -> float32 [b, classes]: 1 - smoothing, and it spread evenly."""
  exact = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
  return exact * (1 - smoothing) + smoothing / num_classes


def mix(
  key: jax.Array,
  video: jax.Array,
  targets: jax.Array,
  options: settings_lib.Augment,
  samples: int = 1,
) -> tuple[jax.Array, jax.Array]:
  """Mixes neighbours: videos 0 and 1, 2 and 3, each sample with its like.

  Args:
    key: of this step's mixing.
    video: uint8 [b, t, h, w, 3].
    targets: float32 [b, classes].
    options: `mixup`, `cutmix` and `switch_prob` are read.
    samples: clips of one video that lie next to each other.

  Returns:
    uint8 and float32 of the same shapes.

  Raises:
    UserError: the videos cannot be paired.
  """
  if not options.mixup and not options.cutmix:
    return video, targets
  b, _, h, w, _ = video.shape
  if b % (2 * samples):
    raise errors.UserError(
      "mixup and cutmix need an even number of videos in train.batch_size, got "
      f"{b // samples}"
    )
  of_pairs = keys.each(key, jnp.arange(b // 2))
  draws = jax.vmap(lambda key: draw(key, options, h, w))(of_pairs)
  weight = jax.vmap(lambda one: _weights(one, h, w))(draws)
  mixed = _blend(video, weight[:, None, :, :, None], samples)
  labels = _blend(targets, draws.label[:, None], samples)
  return jnp.round(mixed).astype(jnp.uint8), labels


def _weights(draw, h, w):
  """Of a clip's own pixels, float32 [h, w]."""
  top, left, bottom, right = draw.box
  y, x = jnp.mgrid[:h, :w]
  inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
  return jnp.where(inside, 0.0, draw.weight)


def _blend(x, weight, samples):
  """[b, ...] with partners; weight: [b / 2, ...], one a pair of clips."""
  x = rearrange(x, "(n two k) ... -> n two k ...", two=2, k=samples)
  weight = rearrange(weight, "(n k) ... -> n 1 k ...", k=samples)
  x = x.astype(jnp.float32)
  mixed = x[:, ::-1] + weight * (x - x[:, ::-1])
  return rearrange(mixed, "n two k ... -> (n two k) ...")
