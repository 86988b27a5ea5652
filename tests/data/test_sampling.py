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
  assert one == many[9] and type(one) is int
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
    sampling.dense_view_indices(8, 5, 3),
  ):
    np.testing.assert_array_equal(clip, [0, 3, 6, 6, 6])
  np.testing.assert_array_equal(
    sampling.dense_clip_indices(1, 3, 4, rng), [0, 0, 0]
  )


def test_centered_clip():
  clip = sampling.dense_view_indices(20, 4, 5)
  np.testing.assert_array_equal(clip, [2, 7, 12, 17])


def test_one_place_is_found_as_many_are():
  for num in (1, 2, 7, 97, 6000):
    many = sampling.shuffled_index(5, 3, np.arange(num), num)
    one = [sampling.shuffled_index(5, 3, place, num) for place in range(num)]
    np.testing.assert_array_equal(many, one)


def test_the_order_is_the_one_that_runs_have_been_trained_in():
  order = sampling.shuffled_index(0, 0, np.arange(12), 12)
  np.testing.assert_array_equal(order, [6, 1, 8, 9, 11, 10, 5, 3, 4, 7, 0, 2])


def test_views_in_time_are_evenly_spread():
  starts = [
    sampling.dense_view_indices(100, 4, 5, view, 5)[0] for view in range(5)
  ]
  assert starts == [0, 21, 42, 63, 84]  # a span of 16: the last ends at 99
  for view in range(3):
    clip = sampling.dense_view_indices(8, 5, 3, view, 3)
    np.testing.assert_array_equal(clip, [0, 3, 6, 6, 6])


def test_segments_by_hand():
  # 10 frames, 4 segments of 2.5 frames: their middles are 1.25, 3.75, ...
  np.testing.assert_array_equal(
    sampling.segment_view_indices(10, 4), [1, 3, 6, 8]
  )
  # VideoMAE's two views of Something-Something: int(tick x), tick (x + 1/2).
  for view in range(2):
    wanted = [int(45 / 16 * (x + view / 2)) for x in range(16)]
    np.testing.assert_array_equal(
      sampling.segment_view_indices(45, 16, view, 2), wanted
    )


def test_random_segments_reach_every_frame_equally():
  rng = np.random.default_rng(0)
  clips = [sampling.segment_clip_indices(10, 4, rng) for _ in range(4000)]
  counts = np.bincount(np.concatenate(clips), minlength=10)
  assert len(counts) == 10
  expected = 4 * 4000 / 10
  # A frame is drawn at most twice a clip: less spread than a multinomial's.
  assert np.abs(counts - expected).max() < 4 * np.sqrt(expected)
  for clip in clips:
    for segment, frame in enumerate(clip):
      assert 2.5 * segment - 1 < frame < 2.5 * (segment + 1)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 7, 8])
def test_segments_of_a_short_video_move_through_it(num_frames):
  view = sampling.segment_view_indices(num_frames, 8)
  assert (np.diff(view) >= 0).all() and set(view) == set(range(num_frames))
  rng = np.random.default_rng(0)
  for _ in range(50):
    clip = sampling.segment_clip_indices(num_frames, 8, rng)
    assert (np.diff(clip) >= 0).all()
    assert clip[0] == 0 and clip[-1] == num_frames - 1
