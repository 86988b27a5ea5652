"""Attention, MLP and the pre-norm block, as ViT and VideoMAE define them.

Parameters are float32. `dtype` is the type of the matrix products; softmax and
LayerNorm statistics stay float32 whatever it is.
"""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from sigma_jax import keys, precision
from sigma_jax.models import attention, positions

xavier_uniform = jax.nn.initializers.xavier_uniform()


class Linear(nnx.Linear):
  """x W + b; parameters are float32, `dtype` is that of the product."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    dtype=jnp.float32,
    kernel_init=xavier_uniform,
    rngs: nnx.Rngs,
    **options,
  ):
    super().__init__(
      inputs,
      outputs,
      dtype=dtype,
      param_dtype=jnp.float32,
      precision=precision.of(dtype),
      kernel_init=kernel_init,
      rngs=rngs,
      **options,
    )


@jax.checkpoint
def gelu(x: jax.Array) -> jax.Array:
  """Exact GELU, x (1 + erf(x / sqrt 2)) / 2 in float32, as PyTorch writes it.

  `jax.nn.gelu` takes erfc, which XLA makes of exponentials: 2.6 times the time
  on a CPU. The backward pass starts from the input alone: half the memory of a
  block's widest activations, and on a CPU, where XLA otherwise fuses the erf
  into the weight gradients' loops, a block's gradient in half the time
  (measured: 50 to 26 ms at width 64).
  """
  exact = x.astype(jnp.float32)
  share = 0.5 * (1.0 + jax.lax.erf(exact * 0.5**0.5))
  return (exact * share).astype(x.dtype)


# What each policy keeps of a block beside its input. "light" keeps what takes
# a matrix product to make; "hidden" is the MLP's, before its GELU.
_REMAT = {
  "light": jax.checkpoint_policies.save_only_these_names(
    "qkv", "attention", "middle", "hidden"
  ),
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Frozen(nnx.Variable):
  """A weight that is read, never trained, saved or given a gradient."""


def layer_norm(dim: int, epsilon: float, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
  """LayerNorm over the last axis, computed and returned in float32."""
  return nnx.LayerNorm(dim, epsilon=epsilon, dtype=jnp.float32, rngs=rngs)


class Attention(nnx.Module):
  """Multi-head self-attention; bias on query and value, on key where asked.

  The key's bias shifts every score of a row alike and so cancels in the
  softmax; VideoMAE and SIGMA store none, and neither do we. Where positions
  are rotary it does not cancel.
  """

  def __init__(
    self,
    dim: int,
    heads: int,
    *,
    key_bias: bool = False,
    kernel_init=xavier_uniform,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.heads = heads
    self.dtype = dtype
    options = {"kernel_init": kernel_init, "dtype": dtype, "rngs": rngs}
    self.qkv = Linear(dim, 3 * dim, use_bias=False, **options)
    self.q_bias = nnx.Param(jnp.zeros((dim,), jnp.float32))
    self.key_bias = key_bias
    if key_bias:
      self.k_bias = nnx.Param(jnp.zeros((dim,), jnp.float32))
    self.v_bias = nnx.Param(jnp.zeros((dim,), jnp.float32))
    self.proj = Linear(dim, dim, **options)

  def __call__(
    self, x: jax.Array, rotation: positions.Rotation | None = None
  ) -> jax.Array:
    """x: float [b, n, d] -> [b, n, d]; rotation: of queries and keys."""
    batch, tokens, dim = x.shape
    of_key = self.k_bias[...] if self.key_bias else jnp.zeros((dim,))
    bias = jnp.concatenate([self.q_bias[...], of_key, self.v_bias[...]])
    qkv = checkpoint_name(self.qkv(x) + bias.astype(self.dtype), "qkv")
    # Split and not indexed: the gradients are joined, not padded and summed.
    heads = (batch, tokens, self.heads, dim // self.heads)
    query, key, value = (x.reshape(heads) for x in jnp.split(qkv, 3, axis=-1))
    if rotation is not None:
      query, key = rotation(query), rotation(key)
    out = attention.attend(query, key, value)
    return self.proj(out.reshape(batch, tokens, dim))


class Mlp(nnx.Module):
  """Two linear maps with an exact (erf) GELU between."""

  def __init__(
    self,
    dim: int,
    hidden: int,
    outputs: int = 0,
    *,
    inits: tuple = (xavier_uniform, xavier_uniform),
    dtype,
    rngs: nnx.Rngs,
  ):
    """`outputs`: o, 0 is d; `inits`: of the two maps' weights."""
    first, second = inits
    out = outputs or dim
    self.fc1 = Linear(dim, hidden, kernel_init=first, dtype=dtype, rngs=rngs)
    self.fc2 = Linear(hidden, out, kernel_init=second, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x: float [..., d] -> [..., o]."""
    return self.fc2(gelu(checkpoint_name(self.fc1(x), "hidden")))


class DropPath(NamedTuple):
  """Stochastic depth (https://arxiv.org/abs/1603.09382) of one block or all.

  key: of the draws, one a clip and branch. rate: float32, the probability that
  a branch is left out; what is kept is divided by 1 - rate. clips: int32 [b],
  places of the clips in the global batch; None: all of it, in order.
  """

  key: jax.Array
  rate: jax.Array
  clips: jax.Array | None = None

  def __call__(self, branch: jax.Array, number: int) -> jax.Array:
    """A residual branch, float [b, ...], without the clips that are dropped."""
    clips = jnp.arange(len(branch)) if self.clips is None else self.clips
    of_clips = keys.each(jax.random.fold_in(self.key, number), clips)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate))(
      of_clips
    )
    kept = kept.reshape(-1, *[1] * (branch.ndim - 1))
    return jnp.where(kept, branch / (1 - self.rate), 0.0)


class Block(nnx.Module):
  """Pre-norm transformer block; the residual stream stays float32."""

  def __init__(
    self,
    dim: int,
    heads: int,
    *,
    mlp_ratio: int,
    mlp_dim: int = 0,
    norm_epsilon: float,
    key_bias: bool = False,
    kernel_init=xavier_uniform,
    dtype,
    rngs: nnx.Rngs,
  ):
    """A block of fresh weights.

    Args:
      dim, heads: d and attention heads.
      mlp_ratio: width inside the MLP over d.
      mlp_dim: that width itself, where positive.
      norm_epsilon: of both LayerNorms.
      key_bias: see `Attention`.
      kernel_init: of all four linear maps.
      dtype: of matrix products.
      rngs: of the weights.
    """
    shared = {"dtype": dtype, "rngs": rngs}
    self.norm1 = layer_norm(dim, norm_epsilon, rngs=rngs)
    self.attn = Attention(
      dim, heads, key_bias=key_bias, kernel_init=kernel_init, **shared
    )
    self.norm2 = layer_norm(dim, norm_epsilon, rngs=rngs)
    self.mlp = Mlp(
      dim, mlp_dim or mlp_ratio * dim, inits=(kernel_init,) * 2, **shared
    )

  def __call__(
    self,
    x: jax.Array,
    drop: DropPath | None = None,
    rotation: positions.Rotation | None = None,
  ) -> jax.Array:
    """x: float32 [b, n, d] -> float32 [b, n, d]; drop: of this block."""
    branch = self.attn(self.norm1(x), rotation).astype(jnp.float32)
    x = x + (branch if drop is None else drop(branch, 0))
    x = checkpoint_name(x, "middle")
    branch = self.mlp(self.norm2(x)).astype(jnp.float32)
    return x + (branch if drop is None else drop(branch, 1))


class Stack(nnx.Module):
  """`depth` equal blocks whose parameters carry a leading depth axis.

  Scanning over them compiles one block instead of `depth` (measured: a third
  of the compile time at the same speed). Where each parameter is instead a
  tuple of `depth` arrays, see `train.layout`, blocks run one after the other.
  `remat` is what the backward pass computes again, see `settings.Model`: the
  less a block keeps, the less memory is written and read, and on a CPU "light"
  is faster than "none".
  """

  def __init__(
    self,
    depth: int,
    *,
    remat: str,
    divided: bool = False,
    rngs: nnx.Rngs,
    **block,
  ):
    """Blocks of fresh weights.

    Args:
      depth: how many.
      remat: see above.
      divided: the maps that end the branches of block i, from 1, start
        divided by sqrt(2 i), as in V-JEPA 2.
      rngs: of the weights.
      **block: of `Block`.
    """
    self.remat, self.depth = remat, depth
    of_blocks = jax.random.split(rngs.params(), depth)
    self.blocks = jax.vmap(lambda key: Block(rngs=nnx.Rngs(key), **block))(
      of_blocks
    )
    if divided:
      shares = (2.0 * jnp.arange(1, depth + 1, dtype=jnp.float32)) ** -0.5
      for last in (self.blocks.attn.proj, self.blocks.mlp.fc2):
        last.kernel[...] = last.kernel[...] * shares[:, None, None]

  def __call__(
    self,
    x: jax.Array,
    num_blocks: int | None = None,
    drop: DropPath | None = None,
    rotation: positions.Rotation | None = None,
  ) -> jax.Array:
    """Runs the blocks.

    Args:
      x: float32 [b, n, d].
      num_blocks: the first so many; None: all.
      drop: its rate is the last block's, and falls linearly to the first's 0.
      rotation: of the tokens in every block's attention; None: none.
    """
    drops = _by_block(drop, self.depth)

    def body(carry, item):
      block, drop = item
      return block(carry, drop, rotation), None

    blocks = _one_by_one(self.blocks)
    if self.remat != "none":
      # Inside a scan nothing can be merged with the forward pass anyway.
      body = jax.checkpoint(
        body, policy=_REMAT[self.remat], prevent_cse=blocks is not None
      )
    if blocks is None:
      stacked = jax.tree.map(
        lambda leaf: leaf[:num_blocks], (self.blocks, drops)
      )
      return jax.lax.scan(body, x, stacked)[0]
    for number, block in enumerate(blocks[:num_blocks]):
      x, _ = body(x, (block, jax.tree.map(operator.itemgetter(number), drops)))
    return x


def _by_block(drop: DropPath | None, depth: int) -> DropPath | None:
  """Key, rate and clips of each block, stacked."""
  if drop is None:
    return None
  rates = jnp.linspace(0.0, drop.rate, depth, dtype=jnp.float32)
  clips = drop.clips
  if clips is not None:
    clips = jnp.broadcast_to(clips, (depth, len(clips)))
  return DropPath(keys.each(drop.key, jnp.arange(depth)), rates, clips)


def _one_by_one(blocks: Block) -> list[Block] | None:
  """Each block of its own where parameters are tuples; None of a stack."""

  def is_tuple(node):
    return isinstance(node, tuple)

  leaves, form = jax.tree.flatten(blocks, is_leaf=is_tuple)
  if not is_tuple(leaves[0]):
    return None
  return [form.unflatten(each) for each in zip(*leaves, strict=True)]
