"""Matching of clusters and classes: numbers computed by hand."""

import numpy as np
import pytest

from sigma_jax.evaluate.segmentation import matching


def mean_iou(counts, match, **options):
  counts = np.asarray(counts)
  return matching.iou(counts, match(counts, **options)).mean()


def test_overlaps_count_pairs():
  clusters = np.array([[0, 2], [2, 2]], np.uint8)
  truth = np.array([[1, 0], [1, 1]])
  counts = matching.overlaps(clusters, truth, 4, 2)
  assert counts.tolist() == [[0, 1], [0, 0], [1, 2], [0, 0]]


def test_perfect_clusters_score_one_whatever_their_numbers():
  truth = np.random.default_rng(0).integers(3, size=500)
  for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
    counts = matching.overlaps(np.array(order)[truth], truth, 3, 3)
    assert matching.one_to_one(counts)[order].tolist() == [0, 1, 2]
    assert mean_iou(counts, matching.one_to_one) == 1
    assert mean_iou(counts, matching.many_to_one) == 1


def test_one_to_one_by_hand():
  # IoU: 6/10, 2/9 and 0/8, 4/7: straight is 1.171, crossed is .222.
  counts = np.array([[6, 2], [2, 3]])
  assert matching.one_to_one(counts).tolist() == [0, 1]
  np.testing.assert_allclose(
    matching.iou(counts, np.array([0, 1])), [6 / 10, 3 / 7]
  )


def test_one_to_one_is_of_the_sum_and_not_greedy():
  # The largest single IoU (0, 0) would leave (1, 1) with nothing.
  counts = np.array([[50, 45], [45, 0]])
  assert matching.one_to_one(counts).tolist() == [1, 0]
  assert mean_iou(counts, matching.one_to_one) == pytest.approx(
    (45 / 95 + 45 / 95) / 2
  )


def test_unmatched_clusters_are_background():
  counts = np.array([[80, 0], [5, 10], [5, 0], [0, 0]])
  classes = matching.one_to_one(counts, background=0)
  assert classes.tolist() == [0, 1, 0, 0]
  np.testing.assert_allclose(matching.iou(counts, classes), [85 / 90, 10 / 15])


def test_without_background_in_the_clip_they_are_of_no_class():
  counts = np.array([[80, 0], [5, 10], [5, 0]])
  classes = matching.one_to_one(counts)
  assert classes.tolist() == [0, 1, matching.NO_CLASS]
  np.testing.assert_allclose(matching.iou(counts, classes), [80 / 90, 10 / 15])


def test_fewer_clusters_than_classes_leave_one_at_zero():
  counts = np.array([[10, 0, 1], [0, 10, 1]])
  found = matching.iou(counts, matching.one_to_one(counts))
  np.testing.assert_allclose(found, [10 / 11, 10 / 11, 0])


def test_many_to_one_by_hand():
  counts = np.array([[30, 10], [1, 9], [20, 0], [0, 6]])
  classes = matching.many_to_one(counts)
  assert classes.tolist() == [0, 1, 0, 1]
  np.testing.assert_allclose(
    matching.iou(counts, classes), [50 / (51 + 10), 15 / (15 + 1 + 10)]
  )


def test_ties_go_to_the_first_class_and_no_pixels_to_background():
  counts = np.array([[0, 4, 4], [3, 3, 0], [0, 0, 0]])
  assert matching.many_to_one(counts, background=0).tolist() == [1, 0, 0]
  assert matching.many_to_one(counts).tolist() == [1, 0, matching.NO_CLASS]


def test_an_object_in_pieces_favours_many_to_one():
  """Pure clusters: many to one is perfect, one to one loses all but two."""
  counts = np.array([[60, 0], [40, 0], [0, 15], [0, 5]])
  assert mean_iou(counts, matching.many_to_one) == 1
  assert mean_iou(counts, matching.one_to_one, background=0) == pytest.approx(
    (100 / 105 + 15 / 20) / 2
  )
  rng = np.random.default_rng(1)
  for _ in range(20):
    pure = np.zeros((8, 3), int)
    pure[np.arange(8), [0, 1, 2, *rng.integers(3, size=5)]] = 1
    pure *= rng.integers(1, 50, (8, 1))
    one = mean_iou(pure, matching.one_to_one, background=0)
    assert one <= mean_iou(pure, matching.many_to_one) == 1


def test_but_a_mixed_cluster_is_lost_to_it():
  """What keeps overclustering from being above clustering in general."""
  counts = np.array([[80, 0], [11, 9]])
  assert matching.many_to_one(counts).tolist() == [0, 0]
  assert mean_iou(counts, matching.many_to_one) == pytest.approx(0.91 / 2)
  assert mean_iou(counts, matching.one_to_one) == pytest.approx(
    (80 / 91 + 9 / 20) / 2
  )


def test_one_class_alone():
  counts = np.array([[7], [0], [3]])
  assert mean_iou(counts, matching.many_to_one) == 1
  assert mean_iou(counts, matching.one_to_one, background=0) == 1
  assert mean_iou(counts, matching.one_to_one) == pytest.approx(0.7)
