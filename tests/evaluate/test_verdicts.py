"""Figures of predictions whose answers are worked out by hand."""

import numpy as np
import pytest

from sigma_jax.evaluate import verdicts
from sigma_jax.evaluate.predictions import Predictions


def predictions(clips, heads=1):
  """From (row, view, values) of every clip; further heads say the same."""
  values = np.array([[clip[2] for clip in clips]] * heads, np.float32)
  rows, views = np.array([clip[:2] for clip in clips], np.int32).T
  return Predictions(values, rows, views)


# Four videos of two views, three classes; the fourth's second view is bad.
CLIPS = [
  (0, 0, (0.6, 0.3, 0.1)),
  (0, 1, (0.1, 0.8, 0.1)),  # mean 0.35, 0.55, 0.10: class 1
  (1, 0, (0.2, 0.2, 0.6)),
  (1, 1, (0.5, 0.2, 0.3)),  # mean 0.35, 0.20, 0.45: class 2
  (2, 0, (0.9, 0.1, 0.0)),
  (2, 1, (0.0, 0.2, 0.8)),  # mean 0.45, 0.15, 0.40: class 0
  (3, 0, (0.1, 0.7, 0.2)),  # class 1
]
TRUTH = np.array([1, 2, 1, 1], np.int32)


def judge(targets, found, truth, videos=None, head=0, resamples=200):
  videos = np.arange(len(truth)) if videos is None else np.array(videos)
  return verdicts.judge(targets, found, head, videos, truth, resamples)


def test_views_are_averaged_before_they_are_judged():
  row = judge("classes", predictions(CLIPS), TRUTH)
  # Videos 0, 1 and 3 are right; of class 1 two of three, of class 2 all.
  assert row["top1"] == 0.75
  assert row["mean_per_class"] == pytest.approx((2 / 3 + 1) / 2)
  assert row["chance"] == 0.75  # always class 1
  assert (row["num_test"], row["num_clips"]) == (4, 7)
  # First views: right on 1 and 3. Second ones: right on 0 alone, of three.
  assert row["view_top1"] == pytest.approx([0.5, 1 / 3])
  assert 0 <= row["low"] < 0.75 < row["high"] <= 1
  low, high = row["mean_per_class_low"], row["mean_per_class_high"]
  assert 0 <= low < row["mean_per_class"] < high <= 1


def test_top5_is_told_from_six_classes_on():
  def row_of(count):
    falling = np.arange(count, 0, -1.0)
    clips = [(i, 0, falling / falling.sum()) for i in range(4)]
    truth = np.array([0, 4, count - 1, 1])
    return judge("classes", predictions(clips), truth)

  assert row_of(5)["top5"] is None
  assert row_of(6)["top5"] == 0.75  # the sixth class is the one left out


def test_videos_without_a_clip_are_not_judged():
  row = judge("classes", predictions(CLIPS[:4]), TRUTH)
  assert (row["num_test"], row["top1"], row["chance"]) == (2, 1.0, 0.5)


def test_confusion_counts_videos():
  found = verdicts.confusion(
    predictions(CLIPS), 0, np.arange(4), TRUTH, ("a", "b", "c")
  )
  np.testing.assert_array_equal(found, [[0, 0, 0], [1, 2, 0], [0, 0, 1]])


def test_several_labels_take_the_greatest_view():
  clips = [
    (0, 0, (0.1, 0.9)),
    (0, 1, (0.8, 0.2)),  # greatest 0.8, 0.9
    (1, 0, (0.5, 0.4)),
    (1, 1, (0.3, 0.6)),  # greatest 0.5, 0.6
    (2, 0, (0.7, 0.1)),
    (2, 1, (0.6, 0.7)),  # greatest 0.7, 0.7
  ]
  truth = np.array([[True, False], [True, True], [False, True]])
  row = judge("multilabel", predictions(clips), truth)
  # First class: 0 right, 2 wrong, 1 right: (1 + 2/3) / 2. Second: 0 wrong, 2
  # right, 1 right: (1/2 + 2/3) / 2.
  assert row["map"] == pytest.approx((5 / 6 + 7 / 12) / 2)
  assert row["low"] <= row["map"] <= row["high"]
  assert (row["num_test"], row["num_clips"]) == (3, 6)


# Rows 0 to 4 are windows: two of video 0, one of video 1, two of video 2.
WINDOWS = [0, 0, 1, 2, 2]
COUNTED = [(i, 0, (c,)) for i, c in enumerate((1.5, 2.0, 4.0, 3.0, 3.0))]


def test_a_count_is_the_sum_over_windows():
  truth = np.array([5.0, 4.0, 8.0])
  row = judge("count", predictions(COUNTED), truth, WINDOWS)
  # Sums 3.5, 4, 6, the first rounded to 4: off by 1 of 5, 0 of 4, 2 of 8. The
  # sum is rounded and not each window's count (2 + 2, 4, 6 here, but 1.4 + 1.4
  # is 3 and not 2).
  assert row["error"] == pytest.approx((0.2 + 0 + 0.25) / 3)
  assert row["off_by_one"] == pytest.approx(2 / 3)
  assert row["error_unrounded"] == pytest.approx((0.3 + 0 + 0.25) / 3)
  assert row["off_by_one_unrounded"] == pytest.approx(1 / 3)
  assert 0 <= row["low"] < row["error"] < row["high"] <= 0.25
  assert (row["num_test"], row["num_clips"]) == (3, 5)
  halves = [(0, 0, (1.4,)), (1, 0, (1.4,))]
  row = judge("count", predictions(halves), np.array([3.0]), [0, 0])
  assert row["error"] == 0 and row["off_by_one"] == 1


def test_a_video_that_lacks_a_window_is_not_counted():
  truth = np.array([5.0, 4.0, 8.0])
  clips = [clip for clip in COUNTED if clip[0] != 3]
  row = judge("count", predictions(clips), truth, WINDOWS)
  assert (row["num_test"], row["num_clips"]) == (2, 4)
  assert row["error"] == pytest.approx(0.1)
  with pytest.raises(ValueError, match="no video could be read to its end"):
    judge("count", predictions(COUNTED[:1]), truth, WINDOWS)


def test_each_head_is_judged_by_itself():
  found = predictions(CLIPS, heads=2)
  found.values[1] = found.values[1][:, ::-1]  # classes 0 and 2 change places
  # Then video 0 alone is right: its mean is 0.10, 0.55, 0.35; and video 3.
  assert judge("classes", found, TRUTH)["top1"] == 0.75
  assert judge("classes", found, TRUTH, head=1)["top1"] == 0.5


@pytest.mark.parametrize(
  ("targets", "metric", "good", "bad"),
  [
    ("classes", "top1", 0.9, 0.2),
    ("multilabel", "map", 0.9, 0.2),
    ("count", "error", 0.2, 0.9),
  ],
)
def test_less_error_is_better(targets, metric, good, bad):
  good, bad = {metric: good}, {metric: bad}
  assert verdicts.better(targets, good, bad)
  assert not verdicts.better(targets, bad, good)
  assert not verdicts.better(targets, good, good)  # the first of equals stays
