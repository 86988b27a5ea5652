"""Projection networks: what the video model has to predict per masked tube.

A target maps a batch's uint8 tubes to one vector per masked tube. Each has
`dim` (p) and `__call__(tubes, masked) -> float32 [b, m, p]`.
"""

import itertools

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from sigma_jax import settings as settings_lib
from sigma_jax.models import (
  image_vit,
  initial,
  layers,
  resample,
  variants,
  vit,
)


def normalize_tubes(tubes: jax.Array) -> jax.Array:
  """Standardises every tube per channel, as VideoMAE's pixel target.

  Args:
    tubes: uint8 [..., values], channel fastest.

  Returns:
    float32 of the same shape: pixels in [0, 1] minus the tube's mean, over
    its unbiased standard deviation + 1e-6. A constant tube gives zeros.
  """
  x = tubes.astype(jnp.float32) / 255.0
  x = x.reshape(*tubes.shape[:-1], tubes.shape[-1] // 3, 3)
  mean = jnp.mean(x, axis=-2, keepdims=True)
  std = jnp.std(x, axis=-2, keepdims=True, ddof=1)
  return ((x - mean) / (std + 1e-6)).reshape(tubes.shape)


def is_flat(tubes: jax.Array) -> jax.Array:
  """Which tubes are of one colour, as those of black bars are.

  Args:
    tubes: uint8 [..., values], channel fastest.

  Returns:
    bool [...]: no channel varies inside the tube.
  """
  x = tubes.reshape(*tubes.shape[:-1], tubes.shape[-1] // 3, 3)
  return jnp.all(jnp.max(x, axis=-2) == jnp.min(x, axis=-2), axis=-1)


class PixelTarget(nnx.Module):
  """VideoMAE's target: the pixels themselves, normalised or not."""

  def __init__(self, tube_values: int, *, normalize: bool = True):
    """normalize: see `settings.Target`."""
    self.dim, self.normalize = tube_values, normalize

  @jax.named_scope("target")
  def __call__(self, tubes: jax.Array, masked: jax.Array) -> jax.Array:
    """uint8 [b, n, values], int32 [b, m] -> float32 [b, m, values]."""
    chosen = vit.gather_tokens(tubes, masked)
    if self.normalize:
      return normalize_tubes(chosen)
    return chosen.astype(jnp.float32) / 255.0


class MlpTarget(nnx.Module):
  """SIGMA-MLP: a small network on normalised pixels, trained jointly.

  A tube of one colour is zeros once normalised, so its embedding comes from the
  biases alone. If biases begin at 0 (`model.init` xavier), the embedding is
  near zero. The loss divides by its length and would follow a few black tubes
  alone (measured: gradients of 1e6 instead of 7). So with that initialisation
  such tubes do not train the network. With the published one they do, as in the
  published code.
  """

  def __init__(
    self,
    tube_values: int,
    hidden: tuple[int, ...],
    dim: int,
    *,
    init: str,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.dim = dim
    self.flat_tubes_train = init != "xavier"
    sizes = (tube_values, *hidden, dim)
    self.layers = nnx.List(
      [
        layers.Linear(
          *(inputs, outputs),
          dtype=dtype,
          rngs=rngs,
          **initial.outside_blocks(init, inputs),
        )
        for inputs, outputs in itertools.pairwise(sizes)
      ]
    )

  @jax.named_scope("target")
  def __call__(self, tubes: jax.Array, masked: jax.Array) -> jax.Array:
    """uint8 [b, n, values], int32 [b, m] -> float32 [b, m, p]."""
    tubes = vit.gather_tokens(tubes, masked)
    x = normalize_tubes(tubes)
    for i, layer in enumerate(self.layers):
      x = layer(layers.gelu(x) if i else x)
    x = x.astype(jnp.float32)
    if self.flat_tubes_train:
      return x
    return jnp.where(is_flat(tubes)[..., None], jax.lax.stop_gradient(x), x)


def standardize(features: jax.Array) -> jax.Array:
  """Standardises every channel over a clip's tubes.

  Args:
    features: float [b, n, p], all n tubes of each clip.

  Returns:
    float32 [b, n, p]: minus the mean, over the unbiased standard deviation
    + 1e-6. A channel that is constant over the clip gives zeros.
  """
  x = features.astype(jnp.float32)
  mean = jnp.mean(x, axis=1, keepdims=True)
  std = jnp.std(x, axis=1, keepdims=True, ddof=1)
  return (x - mean) / (std + 1e-6)


class DinoTarget(nnx.Module):
  """SIGMA-DINO: a frozen image ViT's patch tokens, standardised; no head.

  The teacher sees the first frame of every tube (frames 0, 2, 4, ...), as in
  the published code. If a frame holds a whole number of the teacher's patches,
  at least one for each tube, the teacher gets it as it is. Its feature map is
  then scaled bilinearly to the grid of tubes (224 px at patch 14: from 16 x 16
  to 14 x 14, as published). Any other frame is first resized so that patches
  and tubes coincide.
  """

  def __init__(
    self,
    model: variants.ImageModel,
    *,
    tubelet: int,
    patch: int,
    grid: tuple[int, int, int],
    dtype,
  ):
    """tubelet, patch: a tube's frames and pixels. grid: tubes by t, h, w."""
    self.dim = model.dim
    self.tubelet, self.patch, self.grid = tubelet, patch, grid
    self.teacher = image_vit.ImageViT(model, dtype=dtype)

  @jax.named_scope("target")
  def __call__(self, tubes: jax.Array, masked: jax.Array) -> jax.Array:
    """uint8 [b, n, values], int32 [b, m] -> float32 [b, m, p], no gradient."""
    features = jax.lax.stop_gradient(self.features(tubes))
    return vit.gather_tokens(standardize(features), masked)

  def features(self, tubes: jax.Array) -> jax.Array:
    """The teacher's tokens per tube: uint8 [b, n, values] -> float32 [b, n, p].

    Before they are standardised.
    """
    time, height, width = self.grid
    frames = rearrange(
      vit.normalize_pixels(tubes[..., : tubes.shape[-1] // self.tubelet]),
      "b (t h w) (p q c) -> (b t) (h p) (w q) c",
      t=time,
      h=height,
      p=self.patch,
      q=self.patch,
    )
    size = self.teacher.model.patch
    frames = self._fit(frames, size)
    rows, columns = frames.shape[1] // size, frames.shape[2] // size
    tokens = self.teacher(frames).reshape(-1, rows, columns, self.dim)
    tokens = _bilinear(tokens, height, width)
    return tokens.reshape(-1, time * height * width, self.dim)

  def _fit(self, frames: jax.Array, size: int) -> jax.Array:
    """float32 [b, h, w, 3] at a size that the teacher's patches divide."""
    sides, tubes = frames.shape[1:3], self.grid[1:]
    pairs = list(zip(sides, tubes, strict=True))
    if all(a % size == 0 and a // size >= n for a, n in pairs):
      return frames
    return _bilinear(frames, *(n * size for n in tubes))


def _bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
  """float32 [b, h, w, c] -> [b, height, width, c], pixel centres aligned."""
  if x.shape[1:3] == (height, width):
    return x
  rows = resample.matrix(x.shape[1], height, "linear")
  return resample.resize(x, rows, resample.matrix(x.shape[2], width, "linear"))


def build(settings: settings_lib.Settings, *, rngs: nnx.Rngs) -> nnx.Module:
  """The projection network that `settings.target` names."""
  target, model = settings.target, settings.model
  values = model.tubelet * model.patch**2 * 3
  if target.kind == "pixel":
    return PixelTarget(values, normalize=target.normalize)
  if target.kind == "dino":
    return DinoTarget(
      variants.IMAGE_MODELS[target.variant],
      tubelet=model.tubelet,
      patch=model.patch,
      grid=settings.grid,
      dtype=jnp.dtype(target.dtype),
    )
  return MlpTarget(
    values,
    target.hidden,
    target.dim,
    init=model.init,
    dtype=jnp.dtype(model.dtype),
    rngs=rngs,
  )
