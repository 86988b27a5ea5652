"""What training draws at random, by name: no two uses share a key.

A step's key depends on the seed and the step alone. Every use makes its own key
from it, by its name here. What is drawn for one clip has a key made from the
clip's place in the global batch. Nothing is drawn by device, host or part of a
batch. So a step draws the same, however the batch is split.
"""

import enum

import jax


@enum.unique
class Use(enum.IntEnum):
  """A use of randomness. Its number must never change, or a resumed run would
  draw something else than one without interruption.

  Numbers are large: `fold_in(key, i)` and `split(key)[i]` are the same key,
  and Flax and `split` count up from 0.
  """

  STEP = 1 << 20  # all that steps draw, apart from what initialises
  MASK = STEP + 1
  MIRROR = STEP + 2
  OPERATIONS = STEP + 3  # of RandAugment
  ERASE = STEP + 4
  MIX = STEP + 5
  DROP_PATH = STEP + 6
  GRADIENT_BIAS = STEP + 7  # of MME's histograms, as published
  VIEW_MIRROR = STEP + 16  # of a batch's further views
  COLOURS = STEP + 17


def of_step(seed: int, step: jax.Array | int) -> jax.Array:
  """The key of one training step."""
  key = of(jax.random.key(seed), Use.STEP)
  return jax.random.fold_in(key, step)


def of(key: jax.Array, use: Use) -> jax.Array:
  """The key of one use within what `key` is of."""
  return jax.random.fold_in(key, use)


def each(key: jax.Array, numbers: jax.Array) -> jax.Array:
  """A key for every one of `numbers`, int [n] -> keys [n]."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
