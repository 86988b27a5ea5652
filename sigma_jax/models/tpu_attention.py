"""Attention on a TPU that never writes its scores: JAX's own splash kernel.

XLA writes all [b, h, n, n] scores to main memory and reads them again, several
times. JAX ships two Pallas kernels that do not, flash and splash attention. By
the compiler's figures (docs/PERFORMANCE.md) splash moves fewer bytes: its
backward pass is one kernel instead of two, and it keeps one number a row.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)

# A TPU's registers have so many lanes: blocks are multiples of it.
_LANES = 128
# Keys of one head that stay on the chip, with values and gradients, and scores
# of one turn. v5e's compiler takes both for heads of 32 to 80 and up to 6272
# tokens; larger ones were not tried.
_MAX_KEYS = 2048
_MAX_SCORES = 2**18


class Blocks(NamedTuple):
  """How a kernel cuts n tokens.

  padded: tokens with padding. queries, keys: a block's; both divide `padded`.
  compute: keys whose scores are held at a time; divides `keys`.
  """

  padded: int
  queries: int
  keys: int
  compute: int


@functools.lru_cache
def blocks(tokens: int) -> Blocks:
  """The fewest padded tokens that are cut into few large blocks.

  All keys of a head in one block where they fit: they are then read once, and
  the backward pass makes the queries' gradient at once. More queries a block
  took more scratch and three times as long to compile, for the same bytes.
  """
  padded = -(-tokens // _LANES) * _LANES
  while (keys := _largest(padded, _MAX_KEYS)) < min(padded, 512):
    padded += _LANES
  compute = _largest(keys, _MAX_SCORES // _LANES)
  queries = _largest(padded, min(512, _MAX_SCORES // compute))
  return Blocks(padded, queries, keys, compute)


def _largest(number: int, most: int) -> int:
  """The largest multiple of 128 up to `most` that divides `number`."""
  sizes = range(most // _LANES * _LANES, 0, -_LANES)
  return next(size for size in sizes if number % size == 0)


def splash(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  interpret: bool = False,
) -> jax.Array:
  """softmax(query key^T / sqrt(d)) value of one device's clips.

  Args:
    query, key, value: bfloat16 [b, n, h, d]; scores are float32.
    interpret: runs the kernel on any platform, slowly; for tests.

  Returns:
    [b, n, h, d] in their dtype.
  """
  tokens, heads, dim = query.shape[1:]
  cut = blocks(tokens)
  # The kernel has no scale. Exact for heads of 16 or 64; for others queries are
  # rounded once more, as operands of products are.
  scaled = query * jnp.asarray(dim**-0.5, query.dtype)
  rows = ((0, 0), (0, 0), (0, cut.padded - tokens), (0, 0))
  inputs = (
    jnp.pad(x.transpose(0, 2, 1, 3), rows) for x in (scaled, key, value)
  )
  segments = None
  if cut.padded != tokens:
    # Padding is a segment of its own, which no token sees.
    padding = (jnp.arange(cut.padded) >= tokens).astype(jnp.int32)
    segments = kernels.SegmentIds(padding, padding)
  kernel = _kernel(heads, cut, interpret)
  out = jax.vmap(lambda *each: kernel(*each, segments))(*inputs)
  return out[:, :, :tokens].transpose(0, 2, 1, 3)


def _kernel(heads: int, cut: Blocks, interpret: bool):
  mask = masks.FullMask((cut.padded, cut.padded))
  sizes = kernels.BlockSizes(
    block_q=cut.queries,
    block_kv=cut.keys,
    block_kv_compute=cut.compute,
    block_q_dkv=cut.queries,
    block_kv_dkv=cut.keys,
    block_kv_dkv_compute=cut.compute,
    use_fused_bwd_kernel=True,
  )
  return kernels.make_splash_mha_single_device(
    masks.MultiHeadMask([mask] * heads),
    block_sizes=sizes,
    # What `layers` keeps of a block, so that the forward kernel runs once.
    residual_checkpoint_name="attention",
    interpret=interpret,
  )
