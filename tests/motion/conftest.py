"""Frames of known motion."""

import functools

import numpy as np
import pytest

SIDE = 64


@functools.cache
def texture(seed=0, side=128):
  """Smooth noise, float [side, side, 3] in 0 .. 255."""
  random = np.random.RandomState(seed)
  waves = np.arange(side) / side
  found = np.zeros((side, side, 3))
  for _ in range(60):
    fy, fx = random.randint(-16, 17, 2)
    phase = random.uniform(0, 2 * np.pi, 3)
    angle = 2 * np.pi * (fy * waves[:, None] + fx * waves)
    found += np.cos(angle[..., None] + phase)
  return np.clip(127 + 60 * found / found.std(), 0, 255)


def view(x, y, seed=0):
  """The texture's middle where it has moved by x, y: uint8 [64, 64, 3]."""
  top, left = 32 - y, 32 - x
  cut = texture(seed)[top : top + SIDE, left : left + SIDE]
  return np.round(cut).astype(np.uint8)


@pytest.fixture(name="view", scope="session")
def _view():
  """`view(x, y, seed)`: see above."""
  return view
