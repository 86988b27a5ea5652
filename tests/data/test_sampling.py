"""Draws are pure functions with the distributions that the recipe states."""

import collections

import numpy as np
import pytest

from sigma_jax.data import sampling
from sigma_jax.data.sampling import Purpose


@pytest.mark.parametrize("num", [1, 2, 3, 7, 10, 97, 1000, 4099])
def test_shuffle_is_a_permutation(num):
  order = sampling.shuffled_index(3, 0, np.arange(num), num)
  np.testing.assert_array_equal(np.sort(order), np.arange(num))


def test_shuffle_differs_between_epochs_and_seeds():
  places = np.arange(1000)
  orders = [
    sampling.shuffled_index(seed, epoch, places, 1000)
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 2)]
  ]
  for number, order in enumerate(orders):
    assert np.mean(order == places) < 0.01
    for other in orders[:number]:
      assert np.mean(order == other) < 0.01


def test_shuffle_spreads_evenly():
  # Every example comes first about equally often over 2,000 epochs, and
  # neighbours in the manifest do not stay neighbours.
  first = [int(sampling.shuffled_index(0, e, 0, 11)) for e in range(2000)]
  counts = np.bincount(first, minlength=11)
  assert ((counts - 2000 / 11) ** 2 / (2000 / 11)).sum() < 30  # chi2(10)
  order = sampling.shuffled_index(0, 0, np.arange(5000), 5000)
  assert np.mean(np.abs(np.diff(order)) < 5) < 0.01


def test_shuffle_takes_one_place_of_a_huge_set():
  one = sampling.shuffled_index(0, 7, 123456789, 10**9)
  many = sampling.shuffled_index(0, 7, np.arange(123456780, 123456790), 10**9)
  assert one == many[9] and one.shape == ()
  with pytest.raises(ValueError, match="positions"):
    sampling.shuffled_index(0, 0, 5, 5)


def test_generator_is_pure_and_its_streams_differ():
  def draw(*args):
    return sampling.generator(*args).integers(0, 2**60)

  arguments = [(0, 0, Purpose.TRAIN), (1, 0, Purpose.TRAIN)]
  arguments += [(0, 1, Purpose.TRAIN), (0, 0, Purpose.EVAL)]
  arguments += [(0, 0, Purpose.TRAIN, 1), (-1, 0, Purpose.TRAIN)]
  draws = [draw(*a) for a in arguments]
  assert len(set(draws)) == len(draws)
  assert draws == [draw(*a) for a in arguments]


def test_clip_starts_are_uniform_over_valid_ones():
  rng = np.random.default_rng(0)
  clips = [sampling.dense_clip_indices(20, 4, 5, rng) for _ in range(500)]
  starts = collections.Counter(int(clip[0]) for clip in clips)
  assert set(starts) == set(range(5))  # 20 frames, a span of 16
  assert min(starts.values()) > 60
  for clip in clips:
    np.testing.assert_array_equal(np.diff(clip), 5)


def test_short_videos_repeat_the_last_reachable_frame():
  rng = np.random.default_rng(0)
  for clip in (
    sampling.dense_clip_indices(8, 5, 3, rng),
    sampling.centered_clip_indices(8, 5, 3),
  ):
    np.testing.assert_array_equal(clip, [0, 3, 6, 6, 6])
  np.testing.assert_array_equal(
    sampling.dense_clip_indices(1, 3, 4, rng), [0, 0, 0]
  )


def test_centered_clip():
  clip = sampling.centered_clip_indices(20, 4, 5)
  np.testing.assert_array_equal(clip, [2, 7, 12, 17])


def test_multiscale_boxes():
  rng = np.random.default_rng(0)
  scales = (1.0, 0.875, 0.75, 0.66)
  boxes = [
    sampling.multiscale_crop_box(340, 256, 224, scales, rng)
    for _ in range(4000)
  ]
  sides = [256, 224, 192, 168]
  pairs = {(w, h) for _, _, w, h in boxes}
  assert pairs == {
    (sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1
  }
  for x, y, w, h in boxes:
    assert 0 <= x <= 340 - w and 0 <= y <= 256 - h
  places = collections.Counter(b[:2] for b in boxes if b[2:] == (168, 168))
  assert len(places) == 13
  assert (172, 88) in places and (86, 44) in places and (43, 22) in places


def test_sides_near_the_input_take_its_size():
  rng = np.random.default_rng(0)
  box = sampling.multiscale_crop_box(300, 226, 224, (1.0,), rng)
  assert box[2:] == (224, 224)
  # Never larger than the video.
  box = sampling.multiscale_crop_box(300, 222, 224, (1.0,), rng)
  assert box[2:] == (222, 222)


def test_center_box():
  assert sampling.center_crop_box(340, 256) == (42, 0, 256, 256)
  assert sampling.center_crop_box(3, 8) == (0, 2, 3, 3)
