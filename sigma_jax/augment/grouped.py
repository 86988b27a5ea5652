"""Different functions for different clips of a batch, several clips at once.

Under `vmap` a `switch` computes every branch for every clip, and clip after
clip a large device waits for small work. Here clips are sorted by what is done
with them: only that is computed, on accelerators of a group of clips at a time.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Clips at once, at most: of 16 x 224 x 224 their float32 values in the four
# times four neighbours of `geometry.affine` are 1.2 GB, where XLA keeps them.
_MOST = 8
# A group that is not full computes for nothing: there are about as many of
# those as functions.
_GROUPS = 16

Functions = Sequence[Callable[[jax.Array, Any], jax.Array]]


def apply(
  video: jax.Array, which: jax.Array, functions: Functions, arguments: Any
) -> jax.Array:
  """Changes each clip by the function that is chosen for it.

  A CPU takes clips one by one: more gain nothing there (measured: 64 clips of
  224 pixels in the same time four by four, and a clip's values stay in cache).

  Args:
    video: uint8 [b, t, h, w, 3], of one device.
    which: int32 [b]: 0 leaves a clip as it is, j takes functions[j - 1].
    functions: of one clip [t, h, w, 3] and its arguments, to such a clip.
    arguments: pytree of arrays [b, ...].

  Returns:
    uint8 [b, t, h, w, 3].
  """
  size = min(_MOST, -(-len(video) // _GROUPS))
  one = functools.partial(in_groups, functions, 1)
  if size == 1:
    return one(video, which, arguments)
  several = functools.partial(in_groups, functions, size)
  return jax.lax.platform_dependent(
    video, which, arguments, cpu=one, default=several
  )


def in_groups(
  functions: Functions,
  size: int,
  video: jax.Array,
  which: jax.Array,
  arguments: Any,
) -> jax.Array:
  """As `apply`, `size` clips of the same function at a time."""
  b = len(video)
  order = jnp.argsort(which, stable=True)
  kinds = jnp.arange(1, len(functions) + 1)
  counts = jnp.sum(which == kinds[:, None], axis=1)
  groups = -(-counts // size)
  # Of each function: where its clips begin in `order`, and its groups end.
  begin = jnp.sum(which == 0) + jnp.cumsum(counts) - counts
  end = jnp.cumsum(groups)
  branches = [jax.vmap(function) for function in functions]

  def body(number, video):
    kind = jnp.searchsorted(end, number, side="right")
    within = size * (number - end[kind] + groups[kind]) + jnp.arange(size)
    clips = order[jnp.minimum(begin[kind] + within, b - 1)]
    mine = jax.tree.map(lambda x: x[clips], (video, arguments))
    changed = jax.lax.switch(kind, branches, *mine)
    # What fills up a group is written nowhere.
    places = jnp.where(within < counts[kind], clips, b)
    return video.at[places].set(changed, mode="drop")

  return jax.lax.fori_loop(0, end[-1], body, video)
