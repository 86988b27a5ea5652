"""The masked video ViT: tube embedding, encoder and decoder.

Follows VideoMAE (https://arxiv.org/abs/2203.12602), which SIGMA keeps: fixed
sinusoid positions, an encoder that sees visible tubes only, a narrow decoder
over visible tokens and mask tokens.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from sigma_jax.models import initial, layers, positions

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


def stack(model, side: str, *, rngs: nnx.Rngs) -> layers.Stack:
  """The blocks of one side of a model.

  Args:
    model: `settings.Model`.
    side: encoder or decoder.
    rngs: of the weights.
  """
  return layers.Stack(
    getattr(model, f"{side}_depth"),
    remat=model.remat,
    divided=model.init == "vjepa2",
    rngs=rngs,
    dim=getattr(model, f"{side}_dim"),
    heads=getattr(model, f"{side}_heads"),
    mlp_ratio=model.mlp_ratio,
    mlp_dim=model.encoder_mlp_dim if side == "encoder" else 0,
    norm_epsilon=model.norm_epsilon,
    dtype=jnp.dtype(model.dtype),
    key_bias=model.key_bias,
    kernel_init=initial.in_blocks(model.init),
  )


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
    self.positions, self.heads = model.positions, model.encoder_heads
    self.dtype = jnp.dtype(model.dtype)
    values = model.tubelet * model.patch**2 * 3
    self.embed = layers.Linear(
      values,
      dim,
      dtype=self.dtype,
      rngs=rngs,
      **initial.outside_blocks(model.init, values),
    )
    self.stack = stack(model, "encoder", rngs=rngs)
    self.final_norm = final_norm
    if final_norm:
      self.norm = layers.layer_norm(dim, model.norm_epsilon, rngs=rngs)

  @jax.named_scope("encoder")
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
    dim = self.embed.out_features
    table = positions.table(self.positions, dim, self.grid, self.table_grid)
    rotation = positions.rotation(
      self.positions, dim // self.heads, self.grid, index
    )
    with jax.named_scope("embedding"):
      if index is not None:
        # Gathering uint8 pixels before embedding them leaves the masked nine
        # tenths of the tubes out of the product altogether.
        tubes = gather_tokens(tubes, index)
      x = self.embed(normalize_pixels(tubes)).astype(jnp.float32)
      x = positions.add(x, table, index)
    x = self.stack(x, num_blocks, drop, rotation)
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
    """model, grid: as `Encoder`; out_dim: p, 0: no head, only `normed`."""
    dim = model.decoder_dim
    self.grid = tuple(grid)
    self.dim, self.positions = dim, model.positions
    self.heads = model.decoder_heads
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
    self.stack = stack(model, "decoder", rngs=rngs)
    self.norm = layers.layer_norm(dim, model.norm_epsilon, rngs=rngs)
    if out_dim:
      self.head = layers.Linear(
        dim,
        out_dim,
        dtype=dtype,
        kernel_init=initial.in_blocks(model.init),
        rngs=rngs,
      )

  @jax.named_scope("decoder")
  def __call__(self, tokens, visible, masked) -> jax.Array:
    """Decodes the masked tubes.

    Args:
      tokens: float32 [b, v, encoder width].
      visible, masked: int32 [b, v] and [b, m] tube indices.

    Returns:
      float32 [b, m, p].
    """
    normed = self.normed(tokens, visible, masked)
    return self.head(normed).astype(jnp.float32)

  def normed(self, tokens, visible, masked) -> jax.Array:
    """As `__call__`, what the head reads: float32 [b, m, decoder width]."""
    table = positions.table(self.positions, self.dim, self.grid)
    seen = self.embed(tokens).astype(jnp.float32)
    hidden = jnp.broadcast_to(self.mask_token[...], (*masked.shape, self.dim))
    x = jnp.concatenate(
      [
        positions.add(seen, table, visible),
        positions.add(hidden, table, masked),
      ],
      axis=1,
    )
    rotation = positions.rotation(
      self.positions,
      self.dim // self.heads,
      self.grid,
      jnp.concatenate([visible, masked], axis=1),
    )
    x = self.stack(x, rotation=rotation)[:, -masked.shape[1] :]
    return self.norm(x)
