"""MME's model: VideoMAE's, with a head for each of two targets.

https://arxiv.org/abs/2210.06096; code https://github.com/XinyuSun/MME at
17689a9. The targets are `models.hog` and `motion.trajectories`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax import masking
from sigma_jax.models import layers, vit


class Described(NamedTuple):
  """Tubes by shape and position: histograms [b, m, p], tracks [b, m, q]."""

  shape: jax.Array
  position: jax.Array


class Networks(nnx.Module):
  """VideoMAE's encoder and decoder, with a head for each target."""

  def __init__(
    self,
    model,
    grid: tuple[int, int, int],
    *,
    hidden: int,
    sizes: tuple[int, int],
    rngs: nnx.Rngs,
  ):
    """Networks of fresh weights.

    Args:
      model, grid: as for `vit.Encoder`.
      hidden: width inside both heads.
      sizes: p and q.
      rngs: of the weights.
    """
    self.encoder = vit.Encoder(model, grid, rngs=rngs)
    self.decoder = vit.Decoder(model, grid, 0, rngs=rngs)
    self.shape_head, self.position_head = (
      layers.Mlp(
        model.decoder_dim,
        hidden,
        size,
        dtype=jnp.dtype(model.dtype),
        rngs=rngs,
      )
      for size in sizes
    )

  def __call__(self, tubes: jax.Array, mask: masking.Mask) -> Described:
    """tubes: uint8 [b, n, values]; of the masked ones, float32."""
    tokens = self.encoder(tubes, mask.visible)
    normed = self.decoder.normed(tokens, mask.visible, mask.masked)
    shape, position = (
      head(normed).astype(jnp.float32)
      for head in (self.shape_head, self.position_head)
    )
    return Described(jax.nn.sigmoid(shape), jnp.tanh(position))
