"""MME's loss: of shapes and of positions of masked tubes.

https://github.com/XinyuSun/MME at 17689a9.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Parts(NamedTuple):
  """The two parts of the loss, float32 scalars."""

  shape: jax.Array
  position: jax.Array


def judge(predicted, target, counted: jax.Array) -> Parts:
  """Both parts of the loss: sums of squares, divided by the number of tubes.

  Trajectories count as if they had four steps of four cells. A tube without a
  trajectory counts as one with an error of 0.

  Args:
    predicted, target: `models.described.Described`, of all masked tubes.
    counted: float32 [b, m], 1 where a tube has a trajectory, else 0.
  """
  shape, position = (
    jnp.sum(jnp.square(ours - theirs), axis=-1)
    for ours, theirs in zip(predicted, target, strict=True)
  )
  position = position * counted * (32 / predicted.position.shape[-1])
  return Parts(*(jnp.sum(x) / counted.size for x in (shape, position)))
