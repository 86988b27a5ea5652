"""V-JEPA's predictor: from tokens of the context to those of the targets.

https://arxiv.org/abs/2404.08471 and, with rotary positions,
https://arxiv.org/abs/2506.09985; src/models/predictor.py of their code.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax.models import initial, layers, positions, vit


class Predictor(nnx.Module):
  """A narrow ViT over context tokens and mask tokens; targets come out.

  For each kind of mask it has a mask token, zero at first. The token takes the
  place of every target, with that place's position added (or turned by it, with
  rotary positions). Width, depth and heads are the decoder's options.
  """

  def __init__(
    self,
    model,
    grid: tuple[int, int, int],
    *,
    mask_tokens: int = 2,
    rngs: nnx.Rngs,
  ):
    """A predictor for clips of one geometry.

    Args:
      model: `settings.Model`.
      grid: tubes along time, height and width of a full clip.
      mask_tokens: how many.
      rngs: of the weights.
    """
    wide, dim = model.encoder_dim, model.decoder_dim
    self.grid, self.dim = tuple(grid), dim
    self.positions, self.heads = model.positions, model.decoder_heads
    options = {"dtype": jnp.dtype(model.dtype), "rngs": rngs}
    self.embed = layers.Linear(
      wide, dim, **options, **initial.outside_blocks(model.init, wide)
    )
    self.mask_tokens = nnx.Param(jnp.zeros((mask_tokens, dim), jnp.float32))
    self.stack = vit.stack(model, "decoder", rngs=rngs)
    self.norm = layers.layer_norm(dim, model.norm_epsilon, rngs=rngs)
    self.head = layers.Linear(
      dim, wide, kernel_init=initial.in_blocks(model.init), **options
    )

  @jax.named_scope("decoder")
  def __call__(
    self,
    tokens: jax.Array,
    context: jax.Array,
    targets: jax.Array,
    mask_token: int = 0,
  ) -> jax.Array:
    """Predicts the tokens at some tubes from those at others.

    Args:
      tokens: float32 [b, c, d], the encoder's.
      context, targets: int32 [b, c] and [b, g], where they stand.
      mask_token: which; counted round, as in the published code.

    Returns:
      float32 [b, g, d].
    """
    table = positions.table(self.positions, self.dim, self.grid)
    seen = self.embed(tokens).astype(jnp.float32)
    hidden = self.mask_tokens[...][mask_token % len(self.mask_tokens[...])]
    hidden = jnp.broadcast_to(hidden, (*targets.shape, self.dim))
    x = jnp.concatenate(
      [
        positions.add(seen, table, context),
        positions.add(hidden, table, targets),
      ],
      axis=1,
    )
    rotation = positions.rotation(
      self.positions,
      self.dim // self.heads,
      self.grid,
      jnp.concatenate([context, targets], axis=1),
    )
    x = self.stack(x, rotation=rotation)[:, context.shape[1] :]
    return self.head(self.norm(x)).astype(jnp.float32)
