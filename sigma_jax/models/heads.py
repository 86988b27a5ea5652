"""What is put on top of the encoder for a task with labels."""

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax.models import layers, vit


class Classifier(nnx.Module):
  """The fine-tuned video model, as VideoMAE and SIGMA publish it.

  The tokens of all tubes, without the encoder's own last norm, are averaged,
  normalised and mapped to classes.
  """

  def __init__(
    self, model, num_tokens: int, num_classes: int, *, rngs: nnx.Rngs
  ):
    """model: `settings.Model`; num_tokens: n of a full clip."""
    dim = model.encoder_dim
    self.tubelet, self.patch = model.tubelet, model.patch
    self.encoder = vit.Encoder(model, num_tokens, final_norm=False, rngs=rngs)
    self.norm = layers.layer_norm(dim, model.norm_epsilon, rngs=rngs)
    self.head = layers.Linear(dim, num_classes, rngs=rngs)

  def features(self, video: jax.Array) -> jax.Array:
    """uint8 [b, t, h, w, 3] -> float32 [b, d], what the head reads."""
    tubes = vit.split_tubes(video, self.tubelet, self.patch)
    return self.norm(jnp.mean(self.encoder(tubes), axis=1))

  def __call__(self, video: jax.Array) -> jax.Array:
    """uint8 [b, t, h, w, 3] -> logits, float32 [b, classes]."""
    return self.head(self.features(video))
