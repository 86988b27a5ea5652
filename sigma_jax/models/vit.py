"""The masked video ViT: tube embedding, encoder and decoder.

Follows VideoMAE (https://arxiv.org/abs/2203.12602), which SIGMA keeps: fixed
sinusoid positions, an encoder that sees visible tubes only, a narrow decoder
over visible tokens and mask tokens.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from sigma_jax.models import initial, layers, resample

# ImageNet statistics of RGB in [0, 1]; the model's input normalisation.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def split_tubes(video: jax.Array, tubelet: int, patch: int) -> jax.Array:
  """Cuts clips into space-time tubes.

  Args:
    video: any dtype [b, t, h, w, c].
    tubelet: frames a tube.
    patch: pixels a tube's side.

  Returns:
    [b, n, tubelet * patch * patch * c], tubes ordered (time, row, column) and
    each tube's values (frame, row, column, channel).
  """
  return rearrange(
    video,
    "b (t f) (h p) (w q) c -> b (t h w) (f p q c)",
    f=tubelet,
    p=patch,
    q=patch,
  )


def gather_tokens(tokens: jax.Array, index: jax.Array) -> jax.Array:
  """[b, n, ...] at int32 [b, j], each in 0 .. n - 1, -> [b, j, ...]."""
  return jnp.take_along_axis(
    tokens, index[:, :, None], axis=1, mode="promise_in_bounds"
  )


def normalize_pixels(tubes: jax.Array) -> jax.Array:
  """uint8 [..., values] with channels last-fastest -> float32, standardised."""
  repeats = tubes.shape[-1] // 3
  mean = jnp.tile(jnp.asarray(IMAGE_MEAN, jnp.float32), repeats)
  std = jnp.tile(jnp.asarray(IMAGE_STD, jnp.float32), repeats)
  return (tubes.astype(jnp.float32) / 255.0 - mean) / std


@functools.lru_cache
def sinusoid_table(num_tokens: int, dim: int) -> np.ndarray:
  """Fixed 1-D position table, float32 [num_tokens, dim].

  angle = position / 10000^(2 floor(i / 2) / dim); sine on even i, cosine on
  odd i (https://arxiv.org/abs/1706.03762, section 3.5).
  """
  i = np.arange(dim)
  angles = np.arange(num_tokens)[:, None] / 10000.0 ** (2 * (i // 2) / dim)
  return np.where(i % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def interpolate_positions(
  table: np.ndarray, grid: tuple[int, int, int], new: tuple[int, int, int]
) -> np.ndarray:
  """A position table for another number of frames or another resolution.

  Linear along time and bicubic (a = -0.75, half-pixel centres, borders
  repeated) along rows and columns: what fine-tuning code around VideoMAE would
  do with `torch.nn.functional.interpolate`, were a table in its checkpoints.

  Args:
    table: float [n, d], one row a tube, ordered (time, row, column).
    grid: tubes along time, height and width of `table`; their product is n.
    new: the grid wanted.

  Returns:
    float32 [n', d], n' the product of `new`.
  """
  if len(table) != grid[0] * grid[1] * grid[2]:
    raise ValueError(f"a table of {len(table)} rows does not fit grid {grid}")
  x = np.asarray(table, np.float32).reshape(*grid, -1)
  for axis, kernel in enumerate(("linear", "cubic", "cubic")):
    weights = resample.matrix(grid[axis], new[axis], kernel)
    x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
  return x.reshape(-1, x.shape[-1])


@functools.lru_cache
def position_table(
  dim: int, grid: tuple[int, int, int], given: tuple[int, ...] = ()
) -> np.ndarray:
  """What an encoder adds to the tokens of a clip.

  By default the formula's rows, as in the published code (SIGMA, VideoMAE),
  whose models hold no table but make one for the clips that they are built for:
  a clip of fewer frames has the first rows of that of more, and tubes of
  another resolution have other rows than their place had. `given` keeps each
  place's meaning instead, at the price of rows that lie between the formula's.

  Args:
    dim: of the tokens.
    grid: tubes along time, height and width of the clip.
    given: `settings.Model.table_grid`: a grid whose table is interpolated to
      `grid`; empty: none is.

  Returns:
    float32 [n, dim], ordered (time, row, column); not to be written to.
  """
  table = sinusoid_table(math.prod(given or grid), dim)
  if not given or given == grid:
    return table
  return interpolate_positions(table, given, grid)


class Encoder(nnx.Module):
  """Embeds tubes, adds positions, runs the blocks and a final LayerNorm."""

  def __init__(
    self,
    model,
    grid: tuple[int, int, int],
    *,
    final_norm: bool = True,
    rngs: nnx.Rngs,
  ):
    """An encoder of clips of one geometry.

    Args:
      model: `settings.Model`.
      grid: tubes along time, height and width of a full clip.
      final_norm: whether there is a last LayerNorm; fine-tuned models have
        one behind their pooling instead.
      rngs: of the weights.
    """
    dim = model.encoder_dim
    self.grid, self.table_grid = tuple(grid), tuple(model.table_grid)
    self.dtype = jnp.dtype(model.dtype)
    values = model.tubelet * model.patch**2 * 3
    self.embed = layers.Linear(
      values,
      dim,
      dtype=self.dtype,
      rngs=rngs,
      **initial.outside_blocks(model.init, values),
    )
    self.stack = layers.Stack(
      model.encoder_depth,
      remat=model.remat,
      rngs=rngs,
      dim=dim,
      heads=model.encoder_heads,
      mlp_ratio=model.mlp_ratio,
      norm_epsilon=model.norm_epsilon,
      dtype=self.dtype,
    )
    self.final_norm = final_norm
    if final_norm:
      self.norm = layers.layer_norm(dim, model.norm_epsilon, rngs=rngs)

  def __call__(
    self,
    tubes: jax.Array,
    index: jax.Array | None = None,
    *,
    num_blocks: int | None = None,
    final_norm: bool = True,
    drop: layers.DropPath | None = None,
  ) -> jax.Array:
    """Encodes all tubes of a clip or the visible ones.

    Args:
      tubes: uint8 [b, n, values], all tubes of the clips.
      index: int32 [b, v], the tubes to encode; None encodes all n.
      num_blocks: how many blocks to run; None runs all.
      final_norm: whether the encoder's own LayerNorm, if any, ends it.
      drop: stochastic depth, in fine-tuning.

    Returns:
      float32 tokens [b, v or n, d].
    """
    table = jnp.asarray(
      position_table(self.embed.out_features, self.grid, self.table_grid)
    )
    if index is None:
      position = table[None]
    else:
      # Gathering uint8 pixels before embedding them leaves the masked nine
      # tenths of the tubes out of the product altogether.
      tubes, position = gather_tokens(tubes, index), table[index]
    x = self.embed(normalize_pixels(tubes)).astype(jnp.float32) + position
    x = self.stack(x, num_blocks, drop)
    return self.norm(x) if final_norm and self.final_norm else x


class Decoder(nnx.Module):
  """Predicts a p-vector for every masked tube from the visible tokens."""

  def __init__(
    self,
    model,
    grid: tuple[int, int, int],
    out_dim: int,
    *,
    rngs: nnx.Rngs,
  ):
    """model, grid: as `Encoder`; out_dim: p."""
    dim = model.decoder_dim
    self.grid = tuple(grid)
    self.dim = dim
    dtype = jnp.dtype(model.dtype)
    self.embed = layers.Linear(
      model.encoder_dim,
      dim,
      use_bias=False,
      dtype=dtype,
      rngs=rngs,
      **initial.outside_blocks(model.init, model.encoder_dim),
    )
    self.mask_token = nnx.Param(
      initial.mask_token(model.init, rngs.params(), dim)
    )
    self.stack = layers.Stack(
      model.decoder_depth,
      remat=model.remat,
      rngs=rngs,
      dim=dim,
      heads=model.decoder_heads,
      mlp_ratio=model.mlp_ratio,
      norm_epsilon=model.norm_epsilon,
      dtype=dtype,
    )
    self.norm = layers.layer_norm(dim, model.norm_epsilon, rngs=rngs)
    self.head = layers.Linear(dim, out_dim, dtype=dtype, rngs=rngs)

  def __call__(self, tokens, visible, masked) -> jax.Array:
    """Decodes the masked tubes.

    Args:
      tokens: float32 [b, v, encoder width].
      visible, masked: int32 [b, v] and [b, m] tube indices.

    Returns:
      float32 [b, m, p].
    """
    table = jnp.asarray(position_table(self.dim, self.grid))
    seen = self.embed(tokens).astype(jnp.float32) + table[visible]
    hidden = self.mask_token[...] + table[masked]
    x = self.stack(jnp.concatenate([seen, hidden], axis=1))
    x = x[:, -masked.shape[1] :]
    return self.head(self.norm(x)).astype(jnp.float32)
