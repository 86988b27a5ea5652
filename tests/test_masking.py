"""Masks: counts, structure, purity and uniformity."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import masking

PUBLISHED = (8, 14, 14)
KINDS = ("tube", "random")


def draw(kind, grid=(2, 4, 4), ratio=0.75, batch=16, seed=0):
  key = jax.random.key(seed)
  mask = masking.sample(key, batch, kind=kind, grid=grid, ratio=ratio)
  return masking.Mask(np.asarray(mask.visible), np.asarray(mask.masked))


def test_published_counts():
  assert masking.num_masked("tube", PUBLISHED, 0.9) == 1408
  mask = draw("tube", PUBLISHED, 0.9, batch=2)
  assert mask.masked.shape == (2, 1408)
  assert mask.visible.shape == (2, 160)


def test_random_masks_count_over_all_tubes():
  assert masking.num_masked("random", PUBLISHED, 0.9) == 1411
  mask = draw("random", PUBLISHED, 0.9, batch=2)
  assert mask.masked.shape == (2, 1411)
  assert mask.visible.shape == (2, 157)


@pytest.mark.parametrize("kind", KINDS)
def test_indices_ascend_and_share_the_tubes_out(kind):
  mask = draw(kind)
  for ids in mask:
    assert ids.dtype == np.int32
    assert (np.diff(ids, axis=1) > 0).all()
  both = np.sort(np.concatenate(mask, axis=1), axis=1)
  np.testing.assert_array_equal(both, np.tile(np.arange(32), (16, 1)))


def test_tube_masks_are_constant_over_time():
  grid = np.asarray(masking.to_bool(draw("tube"))).reshape(16, 2, 16)
  np.testing.assert_array_equal(grid[:, 0], grid[:, 1])
  assert (grid[:, 0].sum(axis=1) == 12).all()


def test_random_masks_are_not():
  grid = np.asarray(masking.to_bool(draw("random"))).reshape(16, 2, 16)
  assert (grid[:, 0] != grid[:, 1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_a_function_of_the_key(kind):
  first, again, other = draw(kind), draw(kind), draw(kind, seed=1)
  np.testing.assert_array_equal(first.masked, again.masked)
  assert (first.masked != other.masked).any()
  # Clips of one batch are drawn apart.
  assert len({tuple(row) for row in first.masked}) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_bool_form_and_back(kind):
  mask = draw(kind)
  dense = masking.to_bool(mask)
  assert dense.dtype == jnp.bool_
  assert (np.asarray(dense).sum(axis=1) == mask.masked.shape[1]).all()
  back = masking.from_bool(dense, mask.masked.shape[1])
  np.testing.assert_array_equal(back.visible, mask.visible)
  np.testing.assert_array_equal(back.masked, mask.masked)


def test_from_bool_by_hand():
  given = jnp.asarray([[True, False, True, False], [False, True, True, False]])
  mask = masking.from_bool(given, 2)
  assert mask.masked.dtype == jnp.int32
  np.testing.assert_array_equal(mask.masked, [[0, 2], [1, 2]])
  np.testing.assert_array_equal(mask.visible, [[1, 3], [0, 3]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.01, 1.0])
def test_masking_nothing_or_everything_is_refused(kind, ratio):
  with pytest.raises(ValueError, match=rf"masking.ratio {ratio} masks \d+ of"):
    masking.num_masked(kind, (2, 4, 4), ratio)


@pytest.mark.parametrize("kind", KINDS)
def test_every_set_of_positions_is_equally_likely(kind):
  draws = 6000
  grid = (2, 2, 2) if kind == "tube" else (1, 2, 2)
  mask = draw(kind, grid, ratio=0.5, batch=draws)
  counts = collections.Counter(tuple(row) for row in mask.masked)
  assert len(counts) == 6  # 2 of 4 positions
  expected = draws / 6
  squares = sum((n - expected) ** 2 / expected for n in counts.values())
  assert squares < 25.7  # chi-squared, 5 degrees of freedom: p = 1e-4
