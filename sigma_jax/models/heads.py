"""What is put on top of the encoder for a task with labels."""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from sigma_jax.models import attention, layers, vit


class AttentivePool(nnx.Module):
  """One block of cross-attention whose query is learnt: tokens to one vector.

  The probe of V-JEPA (https://arxiv.org/abs/2404.08471): the query attends to
  the normalised tokens, the result is added to it, an MLP follows.
  """

  def __init__(self, dim, heads, *, mlp_ratio, norm_epsilon, rngs: nnx.Rngs):
    """Widths as of a block of the encoder."""
    self.heads = heads
    init = jax.nn.initializers.truncated_normal(0.02)
    self.query = nnx.Param(init(rngs.params(), (1, dim), jnp.float32))
    self.norm1 = layers.layer_norm(dim, norm_epsilon, rngs=rngs)
    self.q = layers.Linear(dim, dim, rngs=rngs)
    self.kv = layers.Linear(dim, 2 * dim, rngs=rngs)
    self.proj = layers.Linear(dim, dim, rngs=rngs)
    self.norm2 = layers.layer_norm(dim, norm_epsilon, rngs=rngs)
    self.mlp = layers.Mlp(dim, mlp_ratio * dim, dtype=jnp.float32, rngs=rngs)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """tokens: float32 [b, n, d] -> [b, d]."""
    batch = len(tokens)
    query = jnp.broadcast_to(
      self.q(self.query[...]), (batch, 1, self.q.out_features)
    )
    parts = (query, *jnp.split(self.kv(self.norm1(tokens)), 2, axis=-1))
    split = (rearrange(x, "b n (h d) -> b n h d", h=self.heads) for x in parts)
    found = rearrange(attention.attend(*split), "b 1 h d -> b (h d)")
    x = self.query[...] + self.proj(found)
    return x + self.mlp(self.norm2(x))


class Head(nnx.Module):
  """The tokens of a clip to the outputs of a task: pooled, normalised, mapped.

  Of mean pooling, parameters are named as in the published fine-tuned models.
  """

  def __init__(
    self,
    model,
    num_outputs: int,
    *,
    pooling: str = "mean",
    scale: float = 1.0,
    rngs: nnx.Rngs,
  ):
    """A head of fresh weights.

    Args:
      model: `settings.Model` of the encoder.
      num_outputs: c, such as classes.
      pooling: mean or attention, see `settings.Supervised`.
      scale: of the linear map's initial weights, normal of deviation 0.02.
      rngs: of the weights.
    """
    dim, epsilon = model.encoder_dim, model.norm_epsilon
    if pooling == "attention":
      self.pool = AttentivePool(
        dim,
        model.encoder_heads,
        mlp_ratio=model.mlp_ratio,
        norm_epsilon=epsilon,
        rngs=rngs,
      )
    self.pooling = pooling
    self.norm = layers.layer_norm(dim, epsilon, rngs=rngs)
    init = jax.nn.initializers.truncated_normal(0.02 * scale)
    self.head = layers.Linear(dim, num_outputs, kernel_init=init, rngs=rngs)

  def pooled(self, tokens: jax.Array) -> jax.Array:
    """float32 [b, n, d] -> float32 [b, d], what the linear map reads."""
    attentive = self.pooling == "attention"
    return self.norm(
      self.pool(tokens) if attentive else jnp.mean(tokens, axis=1)
    )

  def outputs(self, tokens: jax.Array) -> jax.Array:
    """float32 [b, n, d] -> float32 [b, c]."""
    return self.head(self.pooled(tokens))


class Classifier(Head):
  """A head with the encoder below it: the fine-tuned video model.

  With mean pooling it is what VideoMAE and SIGMA publish: the tokens of all
  tubes, without the encoder's own last norm, are averaged, normalised and
  mapped to classes.
  """

  def __init__(
    self,
    model,
    grid: tuple[int, int, int],
    num_classes: int,
    *,
    rngs: nnx.Rngs,
    **options,
  ):
    """model, grid: as `vit.Encoder`; rest as `Head`."""
    self.tubelet, self.patch = model.tubelet, model.patch
    self.encoder = vit.Encoder(model, grid, final_norm=False, rngs=rngs)
    super().__init__(model, num_classes, rngs=rngs, **options)

  def tokens(self, video: jax.Array, **options) -> jax.Array:
    """uint8 [b, t, h, w, 3] -> float32 [b, n, d]; options as `vit.Encoder`."""
    tubes = vit.split_tubes(video, self.tubelet, self.patch)
    return self.encoder(tubes, **options)

  def features(self, video: jax.Array) -> jax.Array:
    """uint8 [b, t, h, w, 3] -> float32 [b, d], what the linear map reads."""
    return self.pooled(self.tokens(video))

  def __call__(self, video: jax.Array, **options) -> jax.Array:
    """uint8 [b, t, h, w, 3] -> float32 [b, classes]; options as `tokens`."""
    return self.outputs(self.tokens(video, **options))
