"""Of two feature maps: what each place of one has in common with the other's.

As RAFT looks at it, https://arxiv.org/abs/2003.12039, `core/corr.py` of
https://github.com/princeton-vl/RAFT.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import precision

_LEVELS, _RADIUS = 4, 3  # of means, and of the window
FOUND = _LEVELS * (2 * _RADIUS + 1) ** 2  # values of a place


def pyramid(first: jax.Array, second: jax.Array) -> list[jax.Array]:
  """Correlations of all places with all, then means over 2 x 2, 4 x 4, 8 x 8.

  Args:
    first, second: features, float32 [n, h, w, c].

  Returns:
    float32 [n, h, w, y, x] of each level. Of odd sides the last row or column
    has no part in the next level, as published.
  """
  found = precision.einsum("nhwc,nyxc->nhwyx", first, second)
  levels = [found / np.float32(first.shape[-1] ** 0.5)]
  while len(levels) < _LEVELS:
    last = levels[-1]
    height, width = (side // 2 for side in last.shape[3:])
    cut = last[..., : 2 * height, : 2 * width]
    cut = cut.reshape(*last.shape[:3], height, 2, width, 2)
    levels.append(jnp.mean(cut, axis=(4, 6)))
  return levels


def looked_up(levels: list[jax.Array], flow: jax.Array) -> jax.Array:
  """Each level's window of 7 x 7 around where the flow leads, bilinear.

  As products with hat-shaped weights: there is no gather, and what lies outside
  is zero. The x offset changes slowest, as published.

  Args:
    levels: of `pyramid`.
    flow: float32 [n, h, w, 2].

  Returns:
    float32 [n, h, w, 4 * 49].
  """
  n, height, width, _ = flow.shape
  offsets = jnp.arange(-_RADIUS, _RADIUS + 1, dtype=jnp.float32)
  x = flow[..., 0] + jnp.arange(width, dtype=jnp.float32)
  y = flow[..., 1] + jnp.arange(height, dtype=jnp.float32)[:, None]

  def hats(middle, size):
    """[n, h, w] -> [n, h, w, 7, size]."""
    away = (middle[..., None] + offsets)[..., None] - jnp.arange(
      size, dtype=jnp.float32
    )
    return jax.nn.relu(1 - jnp.abs(away))

  found = []
  for level, values in enumerate(levels):
    rows, columns = values.shape[3:]
    across = hats(x / 2**level, columns)
    window = precision.einsum("nhwyx,nhwix->nhwyi", values, across)
    window = precision.einsum(
      "nhwjy,nhwyi->nhwij", hats(y / 2**level, rows), window
    )
    found.append(window.reshape(n, height, width, -1))
  return jnp.concatenate(found, axis=-1)
