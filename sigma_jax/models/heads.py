"""What is put on top of the encoder for a task with labels."""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from sigma_jax.models import attention, initial, layers, vit

# Of V-JEPA's attentive probe.
_PROBE_EPSILON, _PROBE_STD = 1e-5, 0.02


class AttentivePool(nnx.Module):
  """V-JEPA's head: one block of cross-attention whose query is learnt.

  https://github.com/facebookresearch/jepa, src/models/attentive_pooler.py at
  51c59d5. The query attends to the normalised tokens. What it finds is added to
  it unchanged (the code's output projection is not applied). An MLP follows.
  Weights are normal with deviation 0.02, those of the MLP's last map divided by
  sqrt(2); biases are zero; LayerNorm's epsilon is 1e-5. V-JEPA 2's head has
  blocks of self-attention over all tokens before the query.
  """

  def __init__(
    self,
    dim: int,
    heads: int,
    *,
    mlp_ratio: int,
    blocks: int = 0,
    rngs: nnx.Rngs,
  ):
    """Widths as of a block of the encoder; blocks: of self-attention."""
    self.heads, self.num_blocks = heads, blocks
    draw, last = (
      jax.nn.initializers.normal(_PROBE_STD / scale) for scale in (1, 2**0.5)
    )
    query = draw(rngs.params(), (1, dim), jnp.float32)
    self.query_tokens = nnx.Param(query)
    self.norm1 = layers.layer_norm(dim, _PROBE_EPSILON, rngs=rngs)
    self.q = layers.Linear(dim, dim, kernel_init=draw, rngs=rngs)
    self.kv = layers.Linear(dim, 2 * dim, kernel_init=draw, rngs=rngs)
    self.norm2 = layers.layer_norm(dim, _PROBE_EPSILON, rngs=rngs)
    self.mlp = layers.Mlp(
      dim, mlp_ratio * dim, inits=(draw, last), dtype=jnp.float32, rngs=rngs
    )
    if blocks:
      self.stack = layers.Stack(
        blocks,
        remat="light",
        divided=True,
        rngs=rngs,
        dim=dim,
        heads=heads,
        mlp_ratio=mlp_ratio,
        norm_epsilon=_PROBE_EPSILON,
        key_bias=True,
        kernel_init=draw,
        dtype=jnp.float32,
      )

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """tokens: float32 [b, n, d] -> [b, d]."""
    if self.num_blocks:
      tokens = self.stack(tokens)
    query = self.query_tokens[...]
    x = query + _attend(self, query, tokens)
    return x + self.mlp(self.norm2(x))


class ProjectedPool(nnx.Module):
  """An earlier `AttentivePool` of ours, for runs that were trained with it.

  What the query finds goes through a linear map. Weights are xavier-uniform,
  the query is not decayed, and LayerNorm's epsilon is the encoder's.
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
    query = self.query[...]
    x = query + self.proj(_attend(self, query, tokens))
    return x + self.mlp(self.norm2(x))


def _attend(pool, query: jax.Array, tokens: jax.Array) -> jax.Array:
  """What a pool's query, float32 [1, d], finds in tokens [b, n, d]: [b, d]."""
  asked = pool.q(query)
  asked = jnp.broadcast_to(asked, (len(tokens), *asked.shape))
  parts = (asked, *jnp.split(pool.kv(pool.norm1(tokens)), 2, axis=-1))
  split = (rearrange(x, "b n (h d) -> b n h d", h=pool.heads) for x in parts)
  return rearrange(attention.attend(*split), "b 1 h d -> b (h d)")


class Head(nnx.Module):
  """The tokens of a clip to the outputs of a task: pooled and mapped.

  Of mean pooling, parameters are named as in the published fine-tuned models.
  """

  def __init__(
    self,
    model,
    num_outputs: int,
    *,
    pooling: str = "mean",
    scale: float = 1.0,
    pool_blocks: int = 0,
    pool_heads: int = 0,
    rngs: nnx.Rngs,
  ):
    """A head of fresh weights.

    Args:
      model: `settings.Model` of the encoder.
      num_outputs: c, such as classes.
      pooling: mean, attentive or attention, see `settings.Supervised`.
      scale: of the linear map's initial weights, normal of deviation 0.02; of
        attentive pooling, whose map PyTorch's default initialises, of those.
      pool_blocks, pool_heads: of attentive pooling, see `settings.Supervised`.
      rngs: of the weights.
    """
    dim, epsilon = model.encoder_dim, model.norm_epsilon
    sizes = {"mlp_ratio": model.mlp_ratio, "rngs": rngs}
    self.pooling = pooling
    init = {"kernel_init": jax.nn.initializers.truncated_normal(0.02 * scale)}
    if pooling == "attentive":
      self.pool = AttentivePool(
        dim, pool_heads or model.encoder_heads, blocks=pool_blocks, **sizes
      )
      init = initial.torch_default(dim, scale)
    else:
      if pooling == "attention":
        self.pool = ProjectedPool(
          dim, model.encoder_heads, norm_epsilon=epsilon, **sizes
        )
      self.norm = layers.layer_norm(dim, epsilon, rngs=rngs)
    self.head = layers.Linear(dim, num_outputs, rngs=rngs, **init)

  def pooled(self, tokens: jax.Array) -> jax.Array:
    """float32 [b, n, d] -> float32 [b, d], what the linear map reads."""
    if self.pooling == "attentive":
      return self.pool(tokens)
    attends = self.pooling == "attention"
    return self.norm(self.pool(tokens) if attends else jnp.mean(tokens, axis=1))

  @jax.named_scope("head")
  def outputs(self, tokens: jax.Array) -> jax.Array:
    """float32 [b, n, d] -> float32 [b, c]."""
    return self.head(self.pooled(tokens))


class Classifier(Head):
  """A head with the encoder below it: the fine-tuned video model.

  With mean pooling it is the model that VideoMAE and SIGMA publish. The tokens
  of all tubes, without the encoder's own last norm, are averaged, normalised
  and mapped to classes. Attentive pooling reads tokens after that norm, as
  V-JEPA's code does. So does every head if `settings.Model.pool_normed` is set.
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
    normed = model.pool_normed or options.get("pooling") == "attentive"
    self.encoder = vit.Encoder(model, grid, final_norm=normed, rngs=rngs)
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
