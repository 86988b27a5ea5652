"""The sentences follow the numbers."""

import pytest

from sigma_jax.report import verdict


@pytest.fixture
def both(probe_row):
  """Rows of both encoders on one label set."""

  def make(label_set, trained, untrained, protocol="linear"):
    pair = (("pretrained", trained), ("random", untrained))
    return [
      probe_row(encoder, label_set, top1, protocol=protocol)
      for encoder, top1 in pair
    ]

  return make


def test_compares_intervals(probe_row):
  high, low = probe_row("a", "x", 0.7), probe_row("b", "x", 0.5)
  assert verdict.compare(high, low) == "above"
  assert verdict.compare(low, high) == "below"
  assert verdict.compare(high, probe_row("b", "x", 0.67)) == "overlap"
  touching = {"low": high["high"], "high": 1.0}
  assert verdict.compare(high, touching) == "overlap"


def test_names_each_label_set_under_its_own_verb(both):
  rows = both("motion", 0.9, 0.5) + both("shape", 0.4, 0.41)
  text = verdict.shows(rows + both("colour", 0.2, 0.6))
  motion = "beats an untrained one on motion (90.0% against 50.0%, +40.0 point"
  assert motion in text
  assert "falls below an untrained one on colour (20.0% against 60.0%" in text
  assert "cannot be told from an untrained one on shape" in text
  assert "intervals overlap" in text


def test_claims_nothing_above_where_intervals_overlap(both):
  text = verdict.shows(both("motion", 0.52, 0.5))
  assert "beats" not in text
  assert "falls below" not in text


def test_says_whether_the_other_protocol_agrees(both):
  rows = both("motion", 0.9, 0.5) + both("shape", 0.4, 0.41)
  same = both("motion", 0.8, 0.5, "knn") + both("shape", 0.4, 0.4, "knn")
  assert verdict.shows(rows + same).endswith("kNN says the same.")
  other = both("motion", 0.3, 0.5, "knn") + both("shape", 0.4, 0.4, "knn")
  assert "otherwise on motion (worse)." in verdict.shows(rows + other)


def test_without_numbers_or_baseline_nothing_is_claimed(probe_row):
  assert "not been probed" in verdict.shows([])
  assert "loss" in verdict.does_not_show([], 0, 30)
  alone = verdict.shows([probe_row("pretrained", "motion", 0.9)])
  assert "cannot be said" in alone


def test_limits_follow_the_numbers(both):
  clear = verdict.does_not_show(both("motion", 0.9, 0.5), 30, 30)
  assert "20 test clips" in clear
  assert "neither a difference nor its absence" not in clear
  assert "most frequent class" not in clear
  assert "has since reached" not in clear
  weak = verdict.does_not_show(both("motion", 0.11, 0.1), 20, 30)
  assert "neither a difference nor its absence" in weak
  assert "On motion" in weak
  assert "most frequent class" in weak
  assert "Step 20 was probed; the run has since reached step 30" in weak
