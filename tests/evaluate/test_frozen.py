"""The frozen protocol on features whose answer is known."""

import json

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features, frozen


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


def test_three_of_thirty_labels_are_wrong(rows):
  found, chance = rows
  assert [row["protocol"] for row in found] == ["linear", "knn"]
  for row in found:
    assert row["top1"] == pytest.approx(0.9)
    assert 0.7 < row["low"] < 0.9 < row["high"] <= 1
    assert (row["num_train"], row["num_test"]) == (80, 30)
    assert row["chance"] == pytest.approx(chance)
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
