"""V-JEPA's masks: counts, disjoint sides, a function of the clip's place."""

import jax
import numpy as np
import pytest

from sigma_jax import block_masks, errors

GRID = (4, 6, 6)
SHORT = block_masks.Blocks(8, (0.15, 0.15))
LONG = block_masks.Blocks(2, (0.7, 0.7))


def draw(number, blocks=SHORT, counts=(32, 64), **options):
  return block_masks.sample(
    jax.random.key(3),
    number,
    grid=GRID,
    blocks=blocks,
    counts=counts,
    **options,
  )


@pytest.mark.parametrize("random_cut", [False, True])
@pytest.mark.parametrize(
  ("blocks", "counts"), [(SHORT, (32, 64)), (LONG, (16, 96))]
)
def test_every_clip_has_its_counts(blocks, counts, random_cut):
  mask = draw(200, blocks, counts, random_cut=random_cut)
  assert mask.context.shape == (200, counts[0])
  assert mask.targets.shape == (200, counts[1])
  for context, targets in zip(*map(np.asarray, mask), strict=True):
    assert len(set(context) | set(targets)) == sum(counts)
    assert (np.diff(context) > 0).all() and (np.diff(targets) > 0).all()


def test_blocks_span_all_time_slots():
  mask = draw(50, counts=(1, 64))
  tubes = GRID[1] * GRID[2]
  for targets in np.asarray(mask.targets):
    first = {t for t in targets if t < tubes}
    # Raster order: what is left of later slots lies below the first one's.
    assert {t % tubes for t in targets} == first


def test_a_clip_has_the_mask_of_its_place():
  few, many = draw(3), draw(7)
  for a, b in zip(few, many, strict=True):
    np.testing.assert_array_equal(a, b[:3])


def test_counts_near_the_published_ones():
  """Of 8 x 14 x 14 tubes, whose table is left out."""
  blocks = block_masks.Blocks(8, (0.15, 0.1500001))
  context, targets = block_masks.counts((8, 14, 14), blocks)
  assert abs(context - 368) <= 24 and abs(targets - 752) <= 24


def test_counts_that_are_out_of_reach_are_refused():
  with pytest.raises(errors.UserError, match="set lower counts"):
    block_masks.check(GRID, SHORT, (100, 100))
