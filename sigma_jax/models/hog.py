"""Histograms of oriented gradients, as MME's shape target has them.

Dalal and Triggs (2005), without smoothing: every pixel's gradient goes, by its
length, into the two nearest of nine unsigned orientations, and cells take the
mean. MME's code (https://github.com/XinyuSun/MME at 17689a9) gives pixels whose
orientation is exactly a whole bin, such as those of upright edges in drawn
pictures, no bin at all; here they have theirs.
"""

import jax
import jax.numpy as jnp
from einops import rearrange

from sigma_jax.models import vit

BINS = 9
NORMS = ("none", "l2", "l2hys", "std")


def histograms(
  frames: jax.Array,
  cell: int,
  *,
  bias: jax.Array | None = None,
  grey: bool = False,
) -> jax.Array:
  """The mean histogram of every cell.

  Args:
    frames: uint8 [..., h, w, 3].
    cell: pixels of a cell's side; divides h and w.
    bias: float32 [2], added to the derivatives along x and y; None: none.
    grey: of the mean of the three colours.

  Returns:
    float32 [..., h / cell, w / cell, c, 9], c is 3, or 1 in grey. Pixels are
    standardised as the model's input is.
  """
  x = jnp.moveaxis(vit.normalize_pixels(frames), -1, -3)
  if grey:
    x = jnp.mean(x, axis=-3, keepdims=True)
  right, down = _derivatives(x)
  if bias is not None:
    right, down = right + bias[0], down + bias[1]
  length = jnp.sqrt(jnp.square(right) + jnp.square(down))
  phase = jnp.arctan2(down, right) * (BINS / jnp.pi)
  phase = jnp.where(phase < 0, phase + BINS, phase)
  found = []
  for middle in range(BINS):
    away = jnp.abs(phase - middle)
    away = jnp.minimum(away, BINS - away)
    share = length * jnp.maximum(0.0, 1.0 - away)
    cells = rearrange(
      share, "... c (h i) (w j) -> ... h i w j c", i=cell, j=cell
    )
    found.append(jnp.mean(cells, axis=(-4, -2)))
  return jnp.stack(found, axis=-1)


def _derivatives(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Sobel's, left minus right and top minus bottom, of [..., h, w]."""
  height, width = x.shape[-2:]
  pads = [(0, 0)] * (x.ndim - 2) + [(1, 1)] * 2
  x = jnp.pad(x, pads, mode="edge")
  across, up = x[..., :-2] - x[..., 2:], x[..., :-2, :] - x[..., 2:, :]

  def smooth(y, axis, count):
    parts = [jax.lax.slice_in_dim(y, i, i + count, axis=axis) for i in range(3)]
    return parts[0] + 2.0 * parts[1] + parts[2]

  return smooth(across, x.ndim - 2, height), smooth(up, x.ndim - 1, width)


def normalized(hist: jax.Array, kind: str, block: int = 2) -> jax.Array:
  """Histograms by those of their block, each colour for itself.

  Args:
    hist: float32 [..., h, w, c, 9].
    kind: of `NORMS`. l2: to unit length; l2hys: then cut at .2, and once more;
      std: to mean 0 and unbiased variance 1.
    block: cells of a block's side; divides h and w.
  """
  if kind == "none":
    return hist
  height, width = hist.shape[-4:-2]
  x = rearrange(
    hist, "... (h i) (w j) c k -> ... h w c (i j k)", i=block, j=block
  )
  if kind == "std":
    spread = jnp.var(x, axis=-1, keepdims=True, ddof=1)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x / jnp.sqrt(spread + 1e-6)
  else:
    x = _unit(x)
    if kind == "l2hys":
      x = _unit(jnp.clip(x, 0.0, 0.2))
  sides = {"h": height // block, "w": width // block, "i": block, "j": block}
  return rearrange(x, "... h w c (i j k) -> ... (h i) (w j) c k", **sides)


def _unit(x: jax.Array) -> jax.Array:
  squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x / jnp.sqrt(squares + 1e-10)


def tokens(hist: jax.Array, side: int = 2) -> jax.Array:
  """The values of each tube.

  Args:
    hist: float32 [b, t, s, h, w, c, 9], of s frames of each of t time slots.
    side: cells along a tube's side.

  Returns:
    float32 [b, n, c * 9 * s * side^2], tubes ordered (time, row, column) and
    values (colour, bin, frame, row, column).
  """
  return rearrange(
    hist,
    "b t s (h i) (w j) c k -> b (t h w) (c k s i j)",
    i=side,
    j=side,
  )
