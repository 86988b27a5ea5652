"""Resizing of grids by fixed matrices, as PyTorch's `interpolate` does it.

`jax.image.resize` samples with another bicubic kernel (a = -0.5 for -0.75) and
takes no scale beside the size; the published teachers need both.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import precision


def _linear(x: np.ndarray) -> np.ndarray:
  return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
  """Keys' kernel (https://doi.org/10.1109/TASSP.1981.1163711)."""
  x = np.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = a * (((x - 5) * x + 8) * x - 4)
  return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache
def matrix(
  old: int,
  new: int,
  kernel: str,
  *,
  scale: float | None = None,
  antialias: bool = False,
) -> np.ndarray:
  """Weights of `old` samples in each of `new`, pixel centres aligned.

  Args:
    old, new: samples.
    kernel: "linear" or "cubic".
    scale: samples' ratio new / old where it is not exactly that.
    antialias: widens the kernel when shrinking; cubic then has a = -0.5, as
      in Pillow, in place of -0.75.

  Returns:
    float32 [new, old]; each row sums to 1.
  """
  step = old / new if scale is None else 1 / scale
  center = (np.arange(new) + 0.5) * step - 0.5
  width = max(step, 1.0) if antialias else 1.0
  reach = int(np.ceil(2 * width)) + 1
  taps = np.floor(center)[:, None] + np.arange(-reach, reach + 1)
  offsets = (taps - center[:, None]) / width
  if kernel == "linear":
    weights = _linear(offsets)
  else:
    weights = _cubic(offsets, -0.5 if antialias else -0.75)
  if antialias:
    # Past the border there is nothing: what is left is weighted up to 1.
    weights = np.where((taps >= 0) & (taps < old), weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
  out = np.zeros((new, old))
  index = np.clip(taps, 0, old - 1).astype(int)
  np.add.at(out, (np.arange(new)[:, None], index), weights)
  return out.astype(np.float32)


def resize(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
  """float32 [..., h, w, c] by `matrix` [i, h], [j, w] -> [..., i, j, c].

  In full float32 on every device: TPUs would round the factors to bfloat16.
  """
  return jnp.einsum(
    "...hwc,ih,jw->...ijc",
    x,
    rows,
    columns,
    precision=precision.of(x.dtype),
  )
