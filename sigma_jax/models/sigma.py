"""The assembly: video model, projection network and prototypes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.models import modules, targets, vit


class Features(NamedTuple):
  """Both sides' embeddings of the masked tubes, float32 [b, m, p].

  video: the decoder's prediction (psi). target: the projection network (phi).
  """

  video: jax.Array
  target: jax.Array


class Sigma(nnx.Module):
  """SIGMA and, with other targets and losses, the methods beside it."""

  def __init__(self, settings: settings_lib.Settings, *, rngs: nnx.Rngs):
    model = settings.model
    self.tubelet, self.patch = model.tubelet, model.patch
    self.encoder = vit.Encoder(model, settings.grid, rngs=rngs)
    self.target = targets.build(settings, rngs=rngs)
    self.decoder = vit.Decoder(model, settings.grid, self.target.dim, rngs=rngs)
    if settings.loss.kind == "assignment":
      shape = (settings.loss.num_prototypes, self.target.dim)
      self.prototypes = nnx.Param(
        jax.random.normal(rngs.params(), shape, jnp.float32)
      )
      if settings.loss.levels:  # drawn last: the rest is as without a tree
        shape = (sum(settings.loss.levels), self.target.dim)
        self.coarse_prototypes = nnx.Param(
          jax.random.normal(rngs.params(), shape, jnp.float32)
        )

  def __call__(self, video: jax.Array, mask: masking.Mask) -> Features:
    """video: uint8 [b, t, h, w, 3] -> both sides' features, [b, m, p]."""
    tubes = vit.split_tubes(video, self.tubelet, self.patch)
    tokens = self.encoder(tubes, mask.visible)
    predicted = self.decoder(tokens, mask.visible, mask.masked)
    return Features(predicted, self.target(tubes, mask.masked))

  def encode(self, video: jax.Array, **kwargs) -> jax.Array:
    """Tokens of all tubes, float32 [b, n, d]; options as `vit.Encoder`."""
    return self.encoder(
      vit.split_tubes(video, self.tubelet, self.patch), **kwargs
    )


def abstract(settings: settings_lib.Settings) -> modules.Abstract:
  """Graph and shapes without allocating anything."""
  return modules.abstract(lambda rngs: Sigma(settings, rngs=rngs))


merge = modules.merge


def init_params(settings: settings_lib.Settings, key: jax.Array) -> dict:
  """Fresh trained parameters, a nested dict of float32 arrays; jit-able."""
  return modules.init(lambda rngs: Sigma(settings, rngs=rngs), key)
