"""Each clip gets its own function, however clips are grouped."""

import jax
import numpy as np
import pytest

from sigma_jax import settings
from sigma_jax.augment import grouped, randaugment

FUNCTIONS = (
  lambda frames, amount: frames + amount,
  lambda frames, amount: frames * amount,
  lambda frames, amount: frames[::-1],
)


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("kinds", ["mixed", "none", "all", "last"])
def test_by_hand(size, kinds):
  rng = np.random.default_rng(0)
  video = rng.integers(0, 9, (20, 2, 3, 3, 3), np.uint8)
  which = {
    "mixed": rng.integers(0, 4, 20),
    "none": np.zeros(20, int),
    "all": np.full(20, 2),
    "last": np.eye(20, dtype=int)[-1] * 3,
  }[kinds].astype(np.int32)
  amount = rng.integers(1, 5, 20).astype(np.uint8)
  found = jax.jit(lambda *arrays: grouped.in_groups(FUNCTIONS, size, *arrays))(
    video, which, amount
  )
  for clip, kind, n, result in zip(video, which, amount, found, strict=True):
    wanted = FUNCTIONS[kind - 1](clip, n) if kind else clip
    np.testing.assert_array_equal(result, wanted)


def test_the_size_of_groups_changes_no_bit(monkeypatch):
  """Devices with more clips take more at a time."""
  options = settings.Augment(op_prob=1.0)
  video = np.random.default_rng(0).integers(0, 256, (8, 2, 24, 24, 3), np.uint8)
  keys = jax.random.split(jax.random.key(4), 8)
  draws = jax.vmap(lambda key: randaugment.draw(key, options))(keys)
  found = []
  for size in (1, 4):
    monkeypatch.setattr(
      grouped,
      "apply",
      lambda video, which, functions, arguments, size=size: grouped.in_groups(
        functions, size, video, which, arguments
      ),
    )
    # A function of its own, or jit would find the first one's program.
    run = jax.jit(lambda *arrays: randaugment.apply_each(*arrays))
    found.append(np.asarray(run(video, draws)))
  assert (found[0] != video).any(axis=(1, 2, 3, 4)).all()
  np.testing.assert_array_equal(*found)


def test_accelerators_take_several_clips_at_a_time():
  video = jax.ShapeDtypeStruct((32, 2, 3, 5, 3), np.uint8)
  which = jax.ShapeDtypeStruct((32,), np.int32)
  amount = jax.ShapeDtypeStruct((32,), np.uint8)
  traced = jax.jit(
    lambda *arrays: grouped.apply(*arrays[:2], FUNCTIONS, arrays[2])
  ).trace(video, which, amount)
  for platform, pairs in (("cpu", False), ("tpu", True), ("cuda", True)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("tensor<2x2x3x5x3xui8>" in text) == pairs
    assert ("tensor<1x2x3x5x3xui8>" in text) != pairs
