"""The frozen protocol on features whose answer is known."""

import json

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features, frozen, knn, linear


@pytest.fixture(scope="module")
def rows():
  """Three separable classes; manifest rows shuffled and with gaps."""
  rng = np.random.default_rng(0)

  def split(count, clips):
    labels = rng.integers(0, 3, 2 * count)
    labels[::4] = 1
    chosen = rng.permutation(2 * count)[:count].repeat(clips)
    x = np.eye(3)[labels[chosen]] + 0.05 * rng.normal(size=(len(chosen), 3))
    return features.FeatureSet(x.astype(np.float32), chosen), labels

  (train, train_labels), (test, test_labels) = split(40, 2), split(30, 1)
  test_labels[test.rows[:3]] = (test_labels[test.rows[:3]] + 1) % 3
  probe = settings_lib.Probe(knn_k=500, penalties=(1e-3, 1e-2))
  found = frozen.evaluate(probe, train, test, train_labels, test_labels, 3)
  most = np.bincount(train_labels[train.rows]).argmax()
  return found, np.mean(test_labels[test.rows] == most)


def test_splits_of_which_nothing_was_read():
  some = features.FeatureSet(np.zeros((2, 3), np.float32), np.arange(2))
  none = features.FeatureSet(np.zeros((0, 3), np.float32), np.zeros(0, int))
  labels = np.arange(2)
  for pair, name in (((none, some), "training"), ((some, none), "test")):
    with pytest.raises(errors.RunStopped, match=f"no clip of the {name} split"):
      frozen.evaluate(settings_lib.Probe(), *pair, labels, labels, 2)


def test_three_of_thirty_labels_are_wrong(rows):
  found, chance = rows
  assert [row["protocol"] for row in found] == ["linear", "knn"]
  for row in found:
    assert row["top1"] == pytest.approx(0.9)
    assert 0.7 < row["low"] < 0.9 < row["high"] <= 1
    assert (row["num_train"], row["num_test"]) == (80, 30)
    assert row["chance"] == pytest.approx(chance)
    assert row["top5"] is None  # of three classes: nothing to be told
    mean = row["mean_per_class"]
    assert row["mean_per_class_low"] < mean < row["mean_per_class_high"] <= 1
    assert 0.7 < mean < 1
  assert found[0]["penalty"] in (1e-3, 1e-2)
  assert found[1]["k"] == 80


def test_table_and_results_file(rows, tmp_path):
  named = [
    {"encoder": name, "label_set": "motion", **row}
    for name in ("pretrained", "random")
    for row in rows[0]
    if (name, row["protocol"]) != ("random", "knn")
  ]
  lines = frozen.table(named).splitlines()
  assert "pretrained" in lines[0] and "random" in lines[0]
  assert lines[1].startswith("motion linear") and lines[1].count("90.0 [") == 2
  assert lines[2].startswith("motion knn") and lines[2].endswith(" -")
  frozen.write(tmp_path / "new", {"rows": named})
  text = (tmp_path / "new" / "results.json").read_text()
  assert json.loads(text) == {"rows": named}


def random_set(seed, rows, classes):
  """Features that say nothing about the labels."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(rows, 16)).astype(np.float32)
  return features.FeatureSet(x, np.arange(rows)), rng.integers(0, classes, rows)


def evaluate(train, test, num_classes, **options):
  probe = settings_lib.Probe(**({"penalties": (1e-2,)} | options))
  (x, y), (queries, truth) = train, test
  return frozen.evaluate(probe, x, queries, y, truth, num_classes)


def test_the_bank_holds_training_clips_alone(monkeypatch):
  """The published code filled it with the test clips: all right at k = 1."""
  train, test = random_set(0, 300, 10), random_set(1, 400, 10)
  banks = []

  def spied(predict):
    def spy(bank, labels, queries, **options):
      banks.append((bank, labels))
      return predict(bank, labels, queries, **options)

    return spy

  monkeypatch.setattr(knn, "predict", spied(knn.predict))
  monkeypatch.setattr(linear, "predict", spied(linear.predict))
  rows = evaluate(train, test, 10, knn_k=1)
  x, y = train
  wanted = (x.features - x.features.mean(0)) / (x.features.std(0) + 1e-6)
  assert len(banks) == 2
  for bank, labels in banks:
    np.testing.assert_allclose(bank, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, y)
  for row in rows:
    assert row["top1"] < 0.2  # chance is a tenth
    # Half of ten classes: by chance every second. One neighbour names one.
    if row["protocol"] == "knn":
      assert row["top5"] == row["top1"]
    else:
      assert 0.3 < row["top5"] < 0.7
    assert row["mean_per_class"] == pytest.approx(row["top1"], abs=0.05)


@pytest.mark.parametrize(("k", "right"), [(1, 0), (2, 0.5), (10, 1)])
def test_classes_without_a_vote_are_not_among_the_first_five(k, right):
  """The neighbours in order are of class 9, 8 (of odd clips 7), 6, 5, ..."""
  bank = np.eye(10, dtype=np.float32)
  near = np.sqrt(np.asarray([0, 1, 2, 3, 4, 5, 6, 7, 8, 20], np.float32))
  odd = near[[0, 1, 2, 3, 4, 5, 6, 8, 7, 9]]
  train = features.FeatureSet(bank, np.arange(10))
  test = features.FeatureSet(np.stack([near, odd] * 3), np.arange(6))
  rows = evaluate((train, np.arange(10)), (test, np.full(6, 8)), 10, knn_k=k)
  assert rows[1]["protocol"] == "knn"
  assert (rows[1]["top1"], rows[1]["top5"]) == (0, right)


def test_one_class_is_refused():
  x, y = random_set(0, 20, 5)
  with pytest.raises(errors.UserError, match="only one class in the 20 train"):
    evaluate((x, np.full_like(y, 3)), (x, y), 5)
  # Only the rows that could be read count.
  kept = features.FeatureSet(x.features[:4], np.arange(4))
  with pytest.raises(errors.UserError, match="only one class in the 4 train"):
    evaluate((kept, np.where(np.arange(20) < 4, 1, y)), (x, y), 5)


def test_one_test_clip_is_enough():
  train, (x, y) = random_set(0, 30, 3), random_set(1, 1, 3)
  for row in evaluate(train, (x, y), 3):
    assert row["top1"] == row["low"] == row["high"] == row["mean_per_class"]
    assert row["num_test"] == 1
