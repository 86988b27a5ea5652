"""Positions of tokens: tables that are added, and rotations of attention.

`settings.Model.positions` names one of three kinds: a 1-D sine table (VideoMAE,
SIGMA), a 3-D sine table (V-JEPA), and rotary positions (V-JEPA 2), which add
nothing and turn queries and keys instead. None of them has parameters.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax.models import resample

Grid = tuple[int, int, int]  # tubes along time, height and width
_BASE = 10000.0  # longest period over shortest, of all three kinds


@functools.lru_cache
def sinusoid_table(num_tokens: int, dim: int) -> np.ndarray:
  """Fixed 1-D position table, float32 [num_tokens, dim].

  angle = position / 10000^(2 floor(i / 2) / dim); sine on even i, cosine on
  odd i (https://arxiv.org/abs/1706.03762, section 3.5).
  """
  i = np.arange(dim)
  angles = np.arange(num_tokens)[:, None] / _BASE ** (2 * (i // 2) / dim)
  return np.where(i % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


@functools.lru_cache
def sinusoid_table_3d(dim: int, grid: Grid, *, uniform: bool) -> np.ndarray:
  """V-JEPA's fixed table, float32 [n, dim], ordered (time, row, column).

  Each axis has channels of its own: first the sines of all frequencies, then
  their cosines. Frequency i of m is 10000^(-i / m). The axes come in the order
  time, row, column, and channels past `dim` are cut off
  (https://github.com/facebookresearch/jepa, src/models/utils/pos_embs.py).

  Args:
    dim: of the tokens.
    grid: tubes along time, height and width.
    uniform: the axes get a third of the channels each, rounded up to an even
      number; else time gets a half, row and column a quarter each.
  """
  third = 2 * math.ceil(dim / 6)
  widths = (third,) * 3 if uniform else (dim // 2, dim // 4, dim // 4)
  axes = []
  for places, width in zip(np.indices(grid), widths, strict=True):
    frequencies = _BASE ** -(np.arange(width // 2) / (width / 2))
    angles = places.reshape(-1, 1) * frequencies
    axes += [np.sin(angles), np.cos(angles)]
  return np.concatenate(axes, axis=1)[:, :dim].astype(np.float32)


def interpolate_positions(
  table: np.ndarray,
  grid: Grid,
  new: Grid,
  kernels: tuple[str, str, str] = ("linear", "cubic", "cubic"),
) -> np.ndarray:
  """A position table for another number of frames or another resolution.

  By default it is linear along time and bicubic (a = -0.75, half-pixel centres,
  borders repeated) along rows and columns. Fine-tuning code around VideoMAE
  does this with `torch.nn.functional.interpolate`, if a checkpoint has a table.
  V-JEPA's code is linear along all three axes.

  Args:
    table: float [n, d], one row a tube, ordered (time, row, column).
    grid: tubes along time, height and width of `table`; their product is n.
    new: the grid wanted.
    kernels: of each axis, see `resample.matrix`.

  Returns:
    float32 [n', d], n' the product of `new`.
  """
  if len(table) != grid[0] * grid[1] * grid[2]:
    raise ValueError(f"a table of {len(table)} rows does not fit grid {grid}")
  x = np.asarray(table, np.float32).reshape(*grid, -1)
  for axis, kernel in enumerate(kernels):
    weights = resample.matrix(grid[axis], new[axis], kernel)
    x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
  return x.reshape(-1, x.shape[-1])


@functools.lru_cache
def table(
  kind: str, dim: int, grid: Grid, given: tuple[int, ...] = ()
) -> np.ndarray | None:
  """What an encoder adds to the tokens of a clip; None with rotary positions.

  By default a tube gets the row that the formula has for its place in the clip.
  For the 1-D table this is what the published code does (SIGMA, VideoMAE). Its
  checkpoints hold no table; a model makes one for the clips that it is built
  for. So a clip of fewer frames has the first rows of a longer one. At another
  resolution, the same place gets another row than in training. With `given`
  each place keeps its meaning, but its row lies between rows of the formula.

  The 3-D table describes each place by its own time, row and column on any
  grid. V-JEPA's encoder still interpolates it for clips that it was not built
  for, so its models have `given`, the grid that they were trained with.

  Args:
    kind: `settings.Model.positions`.
    dim: of the tokens.
    grid: tubes along time, height and width of the clip.
    given: `settings.Model.table_grid`, a grid whose table is interpolated to
      `grid`; empty: nothing is interpolated.

  Returns:
    float32 [n, dim], ordered (time, row, column); not to be written to.
  """
  if kind == "rotary":
    return None
  made = given or grid
  if kind == "sine":
    rows = sinusoid_table(math.prod(made), dim)
    kernels = ("linear", "cubic", "cubic")
  else:
    rows = sinusoid_table_3d(dim, made, uniform=kind == "sine_3d")
    kernels = ("linear",) * 3
  if made == grid:
    return rows
  return interpolate_positions(rows, made, grid, kernels)


def add(
  x: jax.Array, table: np.ndarray | None, index: jax.Array | None
) -> jax.Array:
  """Tokens with the rows of a table added.

  Args:
    x: float32 [b, c, d].
    table: float32 [n, d]; None: the tokens stay as they are.
    index: int32 [b, c], the tubes that the tokens are of; None: all n in order.
  """
  if table is None:
    return x
  rows = jnp.asarray(table)
  return x + (rows[None] if index is None else rows[index])


class Rotation(NamedTuple):
  """Cosines and sines of every token's channels, float32 [b or 1, n, 1, d].

  d is the width of a head. Where a channel is not turned they are 1 and 0.
  """

  cos: jax.Array
  sin: jax.Array

  def __call__(self, x: jax.Array) -> jax.Array:
    """Queries or keys, float [b, n, heads, d], turned; in float32, then x's."""
    exact = x.astype(jnp.float32)
    pairs = exact.reshape(*x.shape[:-1], -1, 2)
    turned = jnp.stack([-pairs[..., 1], pairs[..., 0]], axis=-1)
    turned = turned.reshape(x.shape)
    return (exact * self.cos + turned * self.sin).astype(x.dtype)


def angles(places: np.ndarray, width: int) -> np.ndarray:
  """Angles by which V-JEPA 2 turns `width` channels, float64 [n, width].

  Channel j is turned by place * 10000^(-(j mod w) / w), w = width / 2. Channels
  2 i and 2 i + 1 are a pair. In a rotation they would share an angle, and here
  they do not: the published code tiles what it should repeat, and its weights
  depend on it (https://github.com/facebookresearch/vjepa2, pull 15).

  Args:
    places: int [n].
    width: even.
  """
  half = width // 2
  frequencies = _BASE ** -(np.arange(half) / half)
  return np.tile(places.reshape(-1, 1) * frequencies, 2)


@functools.lru_cache
def _turns(width: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
  """Cosines and sines of every tube of a grid, float32 [n, width] each.

  Three runs of 2 floor(floor(width / 3) / 2) channels are turned by time, row
  and column; the rest stays.
  """
  run = 2 * (width // 3 // 2)
  turned = [angles(places.reshape(-1), run) for places in np.indices(grid)]
  rest = np.zeros((math.prod(grid), width - 3 * run))
  all_angles = np.concatenate([*turned, rest], axis=1)
  return tuple(f(all_angles).astype(np.float32) for f in (np.cos, np.sin))


def rotation(
  kind: str, width: int, grid: Grid, index: jax.Array | None = None
) -> Rotation | None:
  """How attention turns the tokens of a clip; None if a table is added.

  Args:
    kind: `settings.Model.positions`.
    width: channels of a head, at least 6.
    grid: tubes along time, height and width of the clip. Places are counted in
      it, whatever the grid in training was.
    index: int32 [b, c], the tubes that the tokens are of; None: all n in order.
  """
  if kind != "rotary":
    return None
  tables = (jnp.asarray(each)[:, None] for each in _turns(width, grid))
  return Rotation(
    *(each[None] if index is None else each[index] for each in tables)
  )
