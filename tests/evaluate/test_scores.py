"""Metrics against scikit-learn and by hand, and their intervals."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from sigma_jax.evaluate import scores


def random_problem(seed, n, c, levels=None):
  """Probabilities [n, c], of few distinct values if asked, and labels [n]."""
  rng = np.random.default_rng(seed)
  values = rng.normal(size=(n, c))
  if levels:
    values = rng.integers(0, levels, (n, c)) / levels
  return values, rng.integers(0, c, n)


def test_top1():
  probabilities = np.asarray([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]])
  np.testing.assert_array_equal(
    scores.top1(probabilities, np.asarray([1, 1, 1])), [True, False, True]
  )


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_is_the_head_of_a_stable_sort(k, levels):
  values, labels = random_problem(0, 200, 7, levels)
  order = np.argsort(-values, axis=1, kind="stable")[:, :k]
  wanted = [label in row for label, row in zip(labels, order, strict=True)]
  found = scores.top_k(values, labels, k)
  np.testing.assert_array_equal(found, wanted)
  assert found.dtype == bool
  if levels is None and k < 7:
    wanted = theirs.top_k_accuracy_score(labels, values, k=k, labels=range(7))
    assert found.mean() == pytest.approx(wanted)


def test_a_constant_predictor_gets_the_first_classes_only():
  labels = np.arange(10).repeat(3)
  for k, share in ((1, 0.1), (5, 0.5), (10, 1.0), (20, 1.0)):
    found = scores.top_k(np.zeros((30, 10)), labels, k)
    assert found.mean() == pytest.approx(share)
    np.testing.assert_array_equal(found, labels < k)


def test_classes_that_were_not_named_are_never_among_the_first():
  named = np.asarray([[0.6, -np.inf, 0.4, -np.inf], 4 * [-np.inf]])
  for label, found in enumerate([[1, 0], [0, 0], [1, 0], [0, 0]]):
    labels = np.full(2, label)
    np.testing.assert_array_equal(scores.top_k(named, labels, 3), found)
  np.testing.assert_array_equal(scores.top1(named, np.zeros(2, int)), [1, 0])


def test_top1_is_argmax_whatever_ties():
  values, labels = random_problem(1, 300, 4, levels=2)
  found = scores.top1(values, labels)
  np.testing.assert_array_equal(found, values.argmax(axis=1) == labels)


def test_predictions_that_are_no_numbers_are_not_judged():
  with pytest.raises(ValueError, match="NaN"):
    scores.top1(np.asarray([[np.nan, 0.1]]), np.asarray([0]))
  with pytest.raises(ValueError, match="NaN"):
    scores.average_precision(np.asarray([[np.nan]]), np.ones((1, 1), bool))
  for label in (-1, 2):
    with pytest.raises(ValueError, match="do not fit 2 classes"):
      scores.top1(np.asarray([[0.5, 0.5]]), np.asarray([label]))
    with pytest.raises(ValueError, match="do not fit 2 classes"):
      scores.confusion(np.asarray([[0.5, 0.5]]), np.asarray([label]), 2)


@pytest.mark.parametrize(("n", "c"), [(300, 6), (1, 6), (10, 50)])
def test_per_class_and_confusion_agree_with_scikit_learn(n, c):
  """Few clips and many classes: some classes have none."""
  values, labels = random_problem(2, n, c)
  correct = scores.top1(values, labels)
  counts = scores.confusion(values, labels, c)
  wanted = theirs.confusion_matrix(
    labels, values.argmax(axis=1), labels=np.arange(c)
  )
  np.testing.assert_array_equal(counts, wanted)
  present = np.unique(labels)
  recalls = theirs.recall_score(
    labels, values.argmax(axis=1), labels=present, average=None
  )
  found = scores.mean_per_class(correct, labels)
  assert found == pytest.approx(recalls.mean())
  rows = counts[present]
  assert found == pytest.approx((np.diag(counts)[present] / rows.sum(1)).mean())


def test_mean_per_class_weighs_classes_not_clips():
  labels = np.asarray([0] * 90 + [3] * 10)
  assert scores.mean_per_class(labels == 0, labels) == 0.5
  assert scores.mean_per_class(labels >= 0, labels) == 1.0


def test_a_single_class():
  labels = np.zeros(4, int)
  assert scores.top1(np.ones((4, 1)), labels).all()
  assert scores.mean_per_class(np.asarray([True, False] * 2), labels) == 0.5
  np.testing.assert_array_equal(
    scores.confusion(np.ones((4, 1)), labels, 1), [[4]]
  )


@pytest.mark.parametrize("levels", [None, 2, 5])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_average_precision_agrees_with_scikit_learn(n, levels):
  values, _ = random_problem(3, n, 8, levels)
  targets = np.random.default_rng(4).random((n, 8)) < 0.3
  targets[0, 0], targets[:, 1] = True, False
  found = scores.average_precision(values, targets)
  for column, value in enumerate(found):
    if not targets[:, column].any():
      assert np.isnan(value)
      continue
    wanted = theirs.average_precision_score(
      targets[:, column], values[:, column]
    )
    assert value == pytest.approx(wanted, abs=1e-12)
  mean = scores.mean_average_precision(values, targets)
  assert mean == pytest.approx(np.nanmean(found))


def test_average_precision_by_hand():
  """Ranks 1 and 3 of 3; with a tie of the last two, both enter at rank 3."""
  targets = np.asarray([[1], [0], [1]], bool)
  found = scores.average_precision(np.asarray([[0.9], [0.5], [0.1]]), targets)
  assert found == pytest.approx([(1 + 2 / 3) / 2])
  tied = np.asarray([[0.1], [0.5], [0.5]])
  assert scores.average_precision(tied, targets) == pytest.approx(
    [(0.5 + 2 / 3) / 2]
  )
  constant = scores.average_precision(np.zeros((3, 1)), targets)
  assert constant == pytest.approx([2 / 3])


def test_no_positives_is_an_error():
  nothing = np.zeros((3, 2), bool)
  with pytest.raises(ValueError, match="no class has a positive"):
    scores.mean_average_precision(np.zeros((3, 2)), nothing)
  with pytest.raises(ValueError, match="no class has a positive"):
    scores.bootstrap_mean_average_precision(np.zeros((3, 2)), nothing, 10)


def test_repetitions_by_hand():
  """Rounded first: 4.4 is 4, 6.5 is 6 (to the even one), 3.5 is 4, 11.6 12."""
  predicted = np.asarray([4.4, 6.5, 3.5, 11.6])
  counts = np.asarray([5, 5, 3, 10])
  relative, near = scores.repetition_errors(predicted, counts)
  np.testing.assert_allclose(relative, [1 / 5, 1 / 5, 1 / 3, 2 / 10])
  assert near.tolist() == [True, True, True, False]
  exact, close = scores.repetition_errors(predicted, counts, rounded=False)
  np.testing.assert_allclose(exact, [0.12, 0.3, 0.5 / 3, 0.16])
  assert close.tolist() == [True, False, True, False]
  # 1.4 off is one off, 1.6 is two.
  for value, right in ((6.4, True), (6.6, False), (3.6, True), (3.4, False)):
    assert scores.repetition_errors([value], [5])[1][0] == right
  with pytest.raises(ValueError, match="row 1 has 0 repetitions"):
    scores.repetition_errors(predicted, np.asarray([5, 0, 10, 1]))


@pytest.mark.parametrize(("right", "total"), [(300, 1000), (20, 40)])
def test_interval_is_near_the_normal_one(right, total):
  correct = np.arange(total) < right
  p = right / total
  half = 1.96 * np.sqrt(p * (1 - p) / total)
  low, high = scores.bootstrap_interval(correct, 20000)
  assert low == pytest.approx(p - half, abs=0.03 * half + 1 / total)
  assert high == pytest.approx(p + half, abs=0.03 * half + 1 / total)
  assert scores.bootstrap_interval(correct, 20000) == (low, high)


def test_certain_results_have_no_width():
  labels = np.arange(50) % 4
  for right in (True, False):
    correct, wanted = np.full(50, right), (float(right), float(right))
    assert scores.bootstrap_interval(correct, 100) == wanted
    assert scores.bootstrap_mean_per_class(correct, labels, 100) == wanted
  one = np.ones((1, 1), bool)
  assert scores.bootstrap_mean_per_class(one[0], labels[:1], 9) == (1.0, 1.0)
  found = scores.bootstrap_mean_average_precision(np.zeros((1, 1)), one, 9)
  assert found == (1.0, 1.0)


def test_interval_of_a_mean():
  values = np.random.default_rng(0).uniform(size=200)
  half = 1.96 * values.std() / np.sqrt(200)
  low, high = scores.bootstrap_mean(values, 20000)
  assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
  assert high == pytest.approx(values.mean() + half, abs=0.05 * half)
  assert scores.bootstrap_mean(values, 20000) == (low, high)
  assert scores.bootstrap_mean(values, 20000, seed=1) != (low, high)
  assert scores.bootstrap_mean(values[:1], 100) == (values[0], values[0])


def test_interval_of_the_mean_per_class():
  """Two classes of different sizes: the variance of the mean of two means."""
  labels = np.asarray([0] * 400 + [7] * 100)
  correct = np.arange(500) % 2 == 0
  half = 1.96 * np.sqrt((0.25 / 400 + 0.25 / 100) / 4)
  low, high = scores.bootstrap_mean_per_class(correct, labels, 4000)
  assert low == pytest.approx(0.5 - half, abs=0.07 * half)
  assert high == pytest.approx(0.5 + half, abs=0.07 * half)
  again = scores.bootstrap_mean_per_class(correct, labels, 4000)
  assert again == (low, high)


def test_interval_of_mean_average_precision_covers_what_it_should():
  """New samples of the same kind fall into it, as often as is said."""
  rng = np.random.default_rng(0)

  def sample():
    targets = rng.random((200, 40)) < 0.05
    return rng.normal(size=targets.shape) + targets, targets

  expected = np.mean(
    [scores.mean_average_precision(*sample()) for _ in range(200)]
  )
  inside = 0
  for _ in range(60):
    values, targets = sample()
    low, high = scores.bootstrap_mean_average_precision(values, targets, 100)
    assert low < scores.mean_average_precision(values, targets) < high
    inside += low <= expected <= high
  assert inside >= 51  # 57 of 60 wanted; three deviations below are 52


def test_average_precision_of_a_resample_is_that_of_its_rows():
  """Weights stand for rows that are there more than once, ties or not."""
  for levels in (None, 3):
    values, _ = random_problem(5, 30, 4, levels)
    targets = np.random.default_rng(6).random((30, 4)) < 0.3
    weights = np.random.default_rng(7).multinomial(30, np.full(30, 1 / 30), 5)
    found = scores._weighted_precision(weights.astype(float), values, targets)
    for row, counts in enumerate(weights):
      drawn = np.arange(30).repeat(counts)
      wanted = scores.average_precision(values[drawn], targets[drawn])
      np.testing.assert_allclose(found[row], wanted, atol=1e-12)
