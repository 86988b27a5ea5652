"""Motion-guided masks: counts, and that they go with the content."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import masking
from sigma_jax.motion import volume

GRID, SIDE = (3, 8, 8), 8
KEY = jax.random.key(3)


def draw(video, ratio=0.75, key=KEY, **options):
  return _drawn(key, video, ratio, **options)


@functools.partial(jax.jit, static_argnums=2, static_argnames="published")
def _drawn(key, video, ratio, published=False):
  grid = (video.shape[1] // 2, *GRID[1:])
  return volume.sample(key, video, grid=grid, ratio=ratio, published=published)


def moving(view, step, count=1):
  """Clips of 6 frames, uint8 [count, 6, 64, 64, 3], all alike but the seed."""
  clips = [
    [view(step * (i - 3), 0, seed) for i in range(6)] for seed in range(count)
  ]
  return np.asarray(clips)


def dense(mask, grid=GRID):
  return ~np.asarray(masking.to_bool(mask)).reshape(-1, *grid)


def test_published_counts():
  assert masking.num_masked("motion", (8, 14, 14), 0.9) == 8 * (196 - 19)
  assert masking.num_masked("motion", (8, 14, 14), 0.75) == 8 * (196 - 49)
  with pytest.raises(ValueError, match=r"masking.ratio 0.999 masks 64 of 64"):
    masking.num_masked("motion", GRID, 0.999)


def test_counts_do_not_depend_on_what_moves(view):
  noise = np.random.RandomState(0).randint(0, 256, (8, 6, 64, 64, 3), np.uint8)
  for video in (noise, moving(view, 4, 8)):
    mask = draw(video, 0.9)
    assert mask.visible.dtype == mask.masked.dtype == np.int32
    assert (dense(mask).sum((2, 3)) == 6).all()
    both = np.sort(np.concatenate(mask, axis=1), axis=1)
    np.testing.assert_array_equal(both, np.tile(np.arange(192), (8, 1)))
    assert (np.diff(mask.visible, axis=1) > 0).all()


@pytest.mark.parametrize("ratio", [0.75, 0.9])
def test_a_still_clip_has_the_tube_mask(view, ratio):
  """Or, where bumps are one more than places, all of it but one position."""
  video = np.repeat(moving(view, 0, 8)[:, :1], 6, axis=1)
  found = dense(draw(video, ratio))
  tube = dense(masking.sample(KEY, 8, kind="tube", grid=GRID, ratio=ratio))
  assert (found == found[:, :1]).all()
  assert not (found & ~tube).any()
  assert tube.sum() - found.sum() == {0.75: 0, 0.9: 8 * 3}[ratio]


def bumps(columns, rows=(1, 3, 5), grid=GRID):
  seeds = jnp.asarray([[r * grid[2] + c for r in rows for c in columns]])
  ones = jnp.ones(seeds.shape)
  return volume.bumps(seeds, ones, grid[1:], SIDE), seeds.shape[1]


def constant(x, y, frames=6):
  flows = np.zeros((1, frames - 1, 64, 64, 2), np.float32)
  flows[...] = [x, y]
  # Of content that moves by (x, y): to the next frame before the base, to the
  # one before after it.
  flows[:, frames // 2 :] *= -1
  return jnp.asarray(flows)


def test_a_clip_moved_by_whole_tokens_moves_the_visible_set():
  initial, count = bumps((3, 5))
  maps, _ = volume.carried(initial, constant(SIDE / 2, 0), 3)
  found = dense(volume.choose(volume.scores(maps, GRID), count))[0]
  np.testing.assert_array_equal(found[1, :, 1:], found[0, :, :-1])
  np.testing.assert_array_equal(found[2, :, 1:], found[1, :, :-1])
  assert found[0].sum() == count


def random_motion():
  random = np.random.RandomState(1)
  coarse = random.normal(0, 4, (1, 5, 8, 8, 2)).astype(np.float32)
  return jnp.asarray(coarse.repeat(8, axis=2).repeat(8, axis=3))


def test_a_reversed_clip_has_the_reversed_maps():
  initial, _ = bumps((2, 6))
  flows = random_motion()
  maps, _ = volume.carried(initial, flows, 3)
  back, _ = volume.carried(initial, flows[:, ::-1], 2)
  np.testing.assert_array_equal(back, maps[:, ::-1])


def test_mirroring_commutes():
  initial, count = bumps((2, 6))
  flows = random_motion()
  maps, _ = volume.carried(initial, flows, 3)
  turned = flows[:, :, :, ::-1] * jnp.array([-1.0, 1.0])
  mirrored, _ = volume.carried(initial[..., ::-1], turned, 3)
  np.testing.assert_allclose(mirrored, maps[..., ::-1], atol=2e-5)
  ours, theirs = (
    dense(volume.choose(volume.scores(each, GRID), count))
    for each in (maps, mirrored)
  )
  np.testing.assert_array_equal(theirs, ours[..., ::-1])


def test_masks_follow_what_moves_and_the_published_ones_do_not(view):
  """Content that goes right by half a token a frame."""
  video = moving(view, 4, 8)
  columns = np.arange(8) + 0.5

  def middles(published):
    seen = dense(draw(video, 0.9, published=published))
    return (seen.sum(2) * columns).sum(-1).mean(0) / seen[0, 0].sum()

  ours, theirs = middles(False), middles(True)
  assert ours[0] < ours[1] < ours[2]
  assert theirs[0] > theirs[1]
  still = dense(draw(moving(view, 0, 8), 0.9))
  assert (still[:, 0] == still[:, 1]).all()


def test_one_device_is_as_eight(view):
  video = moving(view, 4, 8)
  mesh = jax.make_mesh(
    (8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  spread = jax.device_put(
    video, jax.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
  )
  one, eight = draw(video, 0.9), draw(spread, 0.9)
  for ours, theirs in zip(one, eight, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  # And a clip's bumps are those of its place in the global batch.
  assert len({tuple(row) for row in np.asarray(one.visible)}) == 8
