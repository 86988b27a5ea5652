"""Frozen image ViTs of the DINO family: DINO, DINOv2, DINOv3.

They share one pre-norm transformer. They differ in positions (a learnt table,
or rotation of queries and keys), register tokens and LayerScale. `variants` has
the facts of each published model. Every weight is a `layers.Frozen`: it is
loaded and read, and no gradient is taken. Matrix products have the weights'
dtype; LayerNorm, softmax and the residual stream are float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from sigma_jax import precision
from sigma_jax.models import attention, layers, resample
from sigma_jax.models.variants import ImageModel

# DINOv3's longest rotary period over its shortest (rope_theta).
_ROTARY_BASE = 100.0


def _frozen(*shape: int, dtype) -> layers.Frozen:
  """Zeros to be replaced: these weights are loaded, never drawn."""
  return layers.Frozen(jnp.zeros(shape, dtype))


class Linear(nnx.Module):
  """x W + b in the weights' dtype."""

  def __init__(self, inputs: int, outputs: int, *, dtype):
    self.kernel = _frozen(inputs, outputs, dtype=dtype)
    self.bias = _frozen(outputs, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float [..., inputs] -> weights' dtype [..., outputs]."""
    kernel = self.kernel[...]
    exact = precision.of(kernel.dtype)
    x = jnp.matmul(x.astype(kernel.dtype), kernel, precision=exact)
    return x + self.bias[...]


class LayerNorm(nnx.Module):
  """LayerNorm over the last axis, computed and returned in float32."""

  def __init__(self, dim: int, epsilon: float, *, dtype):
    self.epsilon = epsilon
    self.scale = _frozen(dim, dtype=dtype)
    self.bias = _frozen(dim, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float32 [..., d] -> float32 [..., d]."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
    x = (x - mean) * jax.lax.rsqrt(variance + self.epsilon)
    scale, bias = self.scale[...], self.bias[...]
    return x * scale.astype(jnp.float32) + bias.astype(jnp.float32)


class Attention(nnx.Module):
  """Multi-head self-attention, bias on query, key and value."""

  def __init__(self, dim: int, heads: int, *, dtype):
    self.heads = heads
    self.qkv = Linear(dim, 3 * dim, dtype=dtype)
    self.proj = Linear(dim, dim, dtype=dtype)

  def __call__(self, x: jax.Array, rotary) -> jax.Array:
    """x: float [b, n, d]; rotary: see `rotary_table`, or None."""
    qkv = rearrange(self.qkv(x), "b n (s h d) -> s b n h d", s=3, h=self.heads)
    query, key, value = qkv[0], qkv[1], qkv[2]
    if rotary is not None:
      query, key = rotate(query, *rotary), rotate(key, *rotary)
    out = attention.attend(query, key, value)
    return self.proj(rearrange(out, "b n h d -> b n (h d)"))


class Mlp(nnx.Module):
  """Two linear maps with an exact (erf) GELU between."""

  def __init__(self, dim: int, *, dtype):
    self.fc1 = Linear(dim, 4 * dim, dtype=dtype)
    self.fc2 = Linear(4 * dim, dim, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float [..., d] -> [..., d]."""
    return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


class Block(nnx.Module):
  """Pre-norm block, each branch scaled per channel where the model does so."""

  def __init__(self, model: ImageModel, *, dtype):
    self.norm1 = LayerNorm(model.dim, model.norm_epsilon, dtype=dtype)
    self.attn = Attention(model.dim, model.heads, dtype=dtype)
    self.norm2 = LayerNorm(model.dim, model.norm_epsilon, dtype=dtype)
    self.mlp = Mlp(model.dim, dtype=dtype)
    self.layer_scale = model.layer_scale
    if model.layer_scale:
      self.ls1 = _frozen(model.dim, dtype=dtype)
      self.ls2 = _frozen(model.dim, dtype=dtype)

  def __call__(self, x: jax.Array, rotary) -> jax.Array:
    """x: float32 [b, n, d] -> float32 [b, n, d]."""
    branch = self.attn(self.norm1(x), rotary)
    x = x + self._scale(branch, "ls1")
    return x + self._scale(self.mlp(self.norm2(x)), "ls2")

  def _scale(self, branch: jax.Array, name: str) -> jax.Array:
    branch = branch.astype(jnp.float32)
    if not self.layer_scale:
      return branch
    return branch * getattr(self, name)[...].astype(jnp.float32)


class ImageViT(nnx.Module):
  """A frozen image ViT; its weights have to be loaded."""

  def __init__(self, model: ImageModel, *, dtype):
    self.model = model
    dim = model.dim
    self.embed = Linear(model.patch**2 * 3, dim, dtype=dtype)
    self.cls_token = _frozen(dim, dtype=dtype)
    if model.grid:
      self.positions = _frozen(1 + model.grid**2, dim, dtype=dtype)
    if model.registers:
      self.registers = _frozen(model.registers, dim, dtype=dtype)
    self.blocks = jax.vmap(
      lambda _: Block(model, dtype=dtype), axis_size=model.depth
    )(None)
    self.norm = LayerNorm(dim, model.norm_epsilon, dtype=dtype)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Normed tokens of the last block's patches.

    Args:
      frames: float32 [b, h, w, 3], normalised RGB; h and w are multiples of
        the patch.

    Returns:
      float32 [b, (h / patch) * (w / patch), d], row by row.
    """
    return self.tokens(frames)[:, 1 + self.model.registers :]

  def tokens(self, frames: jax.Array) -> jax.Array:
    """As `__call__`, with class and register tokens in front."""
    patch = self.model.patch
    grid = (frames.shape[1] // patch, frames.shape[2] // patch)
    x = self.embed(
      rearrange(frames, "b (h p) (w q) c -> b (h w) (p q c)", p=patch, q=patch)
    ).astype(jnp.float32)
    x = self._with_prefix(x, grid)
    rotary = None
    if not self.model.grid:
      head_dim = self.model.dim // self.model.heads
      rotary = rotary_table(grid, head_dim, 1 + self.model.registers)

    def body(carry, block):
      return block(carry, rotary), None

    return self.norm(jax.lax.scan(body, x, self.blocks)[0])

  def _with_prefix(self, x: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Adds positions, then puts class and register tokens in front."""
    prefix = self.cls_token[...].astype(jnp.float32)[None]
    if self.model.grid:
      table = self.positions[...].astype(jnp.float32)
      prefix = prefix + table[:1]
      x = x + fit_positions(table[1:], self.model, grid)
    if self.model.registers:
      registers = self.registers[...].astype(jnp.float32)
      prefix = jnp.concatenate([prefix, registers])
    prefix = jnp.broadcast_to(prefix, (x.shape[0], *prefix.shape))
    return jnp.concatenate([prefix, x], axis=1)


def fit_positions(
  table: jax.Array, model: ImageModel, grid: tuple[int, int]
) -> jax.Array:
  """Resizes a learnt position table bicubically, as its release does.

  Args:
    table: float32 [model.grid^2, d].
    model: whose table it is.
    grid: patches along height and width.

  Returns:
    float32 [h * w, d]; the table itself where the grid is the trained one.
  """
  old = model.grid
  if grid == (old, old):
    return table
  rows, columns = (
    resample.matrix(
      old,
      new,
      "cubic",
      scale=(new + model.grid_offset) / old,
      antialias=model.antialias,
    )
    for new in grid
  )
  square = table.reshape(old, old, -1)
  return resample.resize(square, rows, columns).reshape(-1, table.shape[-1])


def rotary_table(
  grid: tuple[int, int], head_dim: int, prefix: int
) -> tuple[np.ndarray, np.ndarray]:
  """Cosines and sines of DINOv3's rotary positions.

  Patch centres lie in [-1, 1] along each axis of the grid, whatever its size.
  The angles of each axis take a quarter of the head's channels, twice.

  Args:
    grid: patches along height and width.
    head_dim: channels a head.
    prefix: tokens in front that have no position.

  Returns:
    Two float32 arrays [prefix + h * w, 1, head_dim].
  """
  quarter = head_dim // 4
  frequency = _ROTARY_BASE ** -(np.arange(quarter) / quarter)
  axes = [2 * (np.arange(size) + 0.5) / size - 1 for size in grid]
  centers = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
  angles = 2 * np.pi * centers[:, :, None] * frequency
  angles = np.tile(angles.reshape(len(centers), 2 * quarter), 2)
  angles = np.concatenate([np.zeros((prefix, head_dim)), angles])[:, None]
  return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: jax.Array, cosines, sines) -> jax.Array:
  """Turns channel pairs (i, i + half) of float [b, n, heads, d], in float32."""
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([-second, first], axis=-1)
  whole = jnp.concatenate([first, second], axis=-1)
  return (whole * cosines + turned * sines).astype(x.dtype)
