"""Scaled dot-product attention, by the best means of the platform.

On a GPU in bfloat16 that is cuDNN's fused kernel, through
`jax.nn.dot_product_attention`. XLA writes all [b, h, n, n] scores to memory
several times over: from a few hundred tokens on, `tiled` is 2.5 to 3 times
faster on a CPU (docs/PERFORMANCE.md), and on a TPU in bfloat16 a Pallas kernel
takes its place, see `tpu_attention`. Elsewhere, and where `settings.Model` asks
for it, it is XLA's own.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from jax.ad_checkpoint import checkpoint_name

from sigma_jax import precision
from sigma_jax.models import tpu_attention

# Below it XLA's scores stay in the cache.
_MIN_TILED_TOKENS = 512
# Scores of a tile, float32, that still do: measured 2 to 10 MB alike.
_TILE_BYTES = 2**23

# Here the kernel accesses a third of XLA's bytes, by v5e's compiler; where it
# begins to pay was not searched for.
_MIN_SPLASH_TOKENS = 512
# Of a head. Narrower ones would leave most of a register's lanes empty; none of
# our models has them.
_MIN_SPLASH_DIM = 32


class _Place(NamedTuple):
  platform: str
  num_devices: int
  spread: Callable | None
  kind: str


_place: contextvars.ContextVar[_Place | None] = contextvars.ContextVar(
  "place", default=None
)


@contextlib.contextmanager
def on_platform(
  platform: str,
  num_devices: int = 1,
  spread: Callable | None = None,
  *,
  kind: str = "auto",
) -> Iterator[None]:
  """What is traced inside is meant for cpu, gpu or tpu, whatever runs here.

  Args:
    platform: cpu, gpu or tpu.
    num_devices: that batches are split over.
    spread: `train.mesh.over_batch`; None where there is one device.
    kind: `settings.Model.attention`.
  """
  token = _place.set(_Place(platform, num_devices, spread, kind))
  try:
    yield
  finally:
    _place.reset(token)


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """softmax(query key^T / sqrt(d)) value, head by head.

  Args:
    query, key, value: float [b, n, h, d]; softmax is float32 whatever they are.

  Returns:
    [b, n, h, d] in their dtype.
  """
  place = _place.get()
  platform = place.platform if place else jax.default_backend()
  if place is None or place.kind == "auto":
    if platform == "cpu" and query.shape[1] >= _MIN_TILED_TOKENS:
      return tiled(query, key, value)
    # Outside `on_platform` nobody says what device has which clips.
    if platform == "tpu" and place and _splash_takes(place, query, key):
      return _splash(place, query, key, value)
    fused = platform in ("gpu", "cuda") and query.dtype == jnp.bfloat16
    if fused and _cudnn_takes(query.shape):
      return jax.nn.dot_product_attention(
        query, key, value, implementation="cudnn"
      )
  with precision.default(query.dtype):
    return jax.nn.dot_product_attention(query, key, value)


def _splash_takes(place: _Place, query: jax.Array, key: jax.Array) -> bool:
  """Whether the TPU's kernel is the better one; float32 is exact without it."""
  batch, tokens, _, dim = query.shape
  return (
    query.dtype == jnp.bfloat16
    and query.shape == key.shape
    and tokens >= _MIN_SPLASH_TOKENS
    and dim >= _MIN_SPLASH_DIM
    and batch % place.num_devices == 0
  )


def _splash(place: _Place, *arrays: jax.Array) -> jax.Array:
  """XLA cannot split a kernel: each device runs it on its own clips."""
  if place.spread is None:
    return tpu_attention.splash(*arrays)

  def of_device(_, *arrays):
    return tpu_attention.splash(*arrays)

  return place.spread(of_device, (True, True, True), True)(*arrays)


@functools.lru_cache
def _cudnn_takes(shape: tuple[int, ...]) -> bool:
  """Whether cuDNN compiles attention of this shape, forward and backward.

  It refuses some lengths and head sizes, and old versions refuse more: it is
  asked, so that a run does not end where XLA's own would have done.
  """
  array = jax.ShapeDtypeStruct(shape, jnp.bfloat16)

  def loss(*arrays):
    out = jax.nn.dot_product_attention(*arrays, implementation="cudnn")
    return jnp.sum(out.astype(jnp.float32))

  try:
    jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*[array] * 3).compile()
  except Exception as error:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    logging.warning(
      "attention of %s runs without cuDNN's fused kernel: %s", shape, reason
    )
    return False
  return True


def tiled(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """As `attend`, over one head and some queries at a time.

  A tile's scores live and die in the cache; what is kept for the backward pass
  is each row's log-sum, from which its probabilities are made again
  (FlashAttention, https://arxiv.org/abs/2205.14135, with whole rows).
  """
  return _tiled(query, key, value)


@jax.custom_vjp
def _tiled(query, key, value):
  return _forward(query, key, value)[0]


def _forward(query, key, value):
  scaled = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
  num_tiles = _num_tiles(query.shape)

  def per_head(_, head):
    queries, keys, values = head

    def per_tile(_, tile):
      scores = _scores(tile, keys)
      top = jnp.max(scores, axis=-1, keepdims=True)
      weights = jnp.exp(scores - top)
      total = jnp.sum(weights, axis=-1, keepdims=True)
      out = precision.einsum(
        "bqk,bkd->bqd", weights.astype(values.dtype), values
      )
      return None, (out / total, top + jnp.log(total))

    _, (out, log_sum) = jax.lax.scan(per_tile, None, _cut(queries, num_tiles))
    return None, (_join(out).astype(query.dtype), _join(log_sum))

  inputs = tuple(_heads_first(x) for x in (scaled, key, value))
  _, (out, log_sum) = jax.lax.scan(per_head, None, inputs)
  out = checkpoint_name(_heads_last(out), "attention")
  log_sum = checkpoint_name(log_sum, "attention")
  return out, (query, key, value, out, log_sum)


def _backward(residuals, cotangent):
  query, key, value, out, log_sum = residuals
  scale = query.shape[-1] ** -0.5
  num_tiles = _num_tiles(query.shape)
  dtype = query.dtype
  # Each row's sum of probability times its gradient.
  mean = jnp.sum(
    cotangent.astype(jnp.float32) * out.astype(jnp.float32),
    axis=-1,
    keepdims=True,
  )

  def per_head(_, head):
    queries, keys, values, gradients, means, log_sums = head

    # Scores stand keys first here: then two of three sums run along rows.
    def per_tile(sums, tile):
      by_key, by_value = sums
      query, gradient, mean, log_sum = tile
      weights = jnp.exp(_scores(keys, query) - log_sum.swapaxes(1, 2))
      by_weights = _scores(values, gradient)
      by_scores = (weights * (by_weights - mean.swapaxes(1, 2))).astype(dtype)
      weights = weights.astype(dtype)
      by_value += precision.einsum("bkq,bqd->bkd", weights, gradient)
      by_key += precision.einsum("bkq,bqd->bkd", by_scores, query)
      by_query = precision.einsum("bkq,bkd->bqd", by_scores, keys) * scale
      return (by_key, by_value), by_query

    empty = (jnp.zeros(keys.shape, jnp.float32),) * 2
    tiles = [_cut(x, num_tiles) for x in (queries, gradients, means, log_sums)]
    (by_key, by_value), by_query = jax.lax.scan(per_tile, empty, tuple(tiles))
    found = (_join(by_query), by_key, by_value)
    return None, tuple(x.astype(dtype) for x in found)

  scaled = query * jnp.asarray(scale, dtype)
  arrays = (scaled, key, value, cotangent, mean)
  inputs = (*(_heads_first(x) for x in arrays), log_sum)
  _, gradients = jax.lax.scan(per_head, None, inputs)
  return tuple(_heads_last(x) for x in gradients)


_tiled.defvjp(_forward, _backward)


def _num_tiles(shape: tuple[int, ...]) -> int:
  """Into how many equal parts each head's n queries are cut."""
  batch, tokens = shape[:2]
  least = max(math.ceil(4 * batch * tokens * tokens / _TILE_BYTES), 1)
  even = (c for c in range(least, tokens + 1) if tokens % c == 0)
  return next(even, tokens)


def _heads_first(x):
  """[b, n, h, d] -> [h, b, n, d]."""
  return x.transpose(2, 0, 1, 3)


def _heads_last(x):
  return x.transpose(1, 2, 0, 3)


def _cut(x, num_tiles):
  """[b, n, d] -> [tiles, b, n / tiles, d]."""
  b, n, d = x.shape
  return x.reshape(b, num_tiles, n // num_tiles, d).swapaxes(0, 1)


def _join(x):
  tiles, b, rows, d = x.shape
  return x.swapaxes(0, 1).reshape(b, tiles * rows, d)


def _scores(a, b):
  """float [b, i, d] and [b, j, d] -> float32 [b, i, j]."""
  return precision.einsum("bid,bjd->bij", a, b)
