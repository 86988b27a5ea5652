"""Published figures: their own mean, and tables that mark them."""

import pytest

from sigma_jax.evaluate import published


def figures(**wanted):
  return [
    figure
    for figure in published.FIGURES
    if all(getattr(figure, key) == value for key, value in wanted.items())
  ]


def test_the_mean_of_severe_is_the_published_one():
  row = {
    figure.dataset: figure.value
    for figure in figures(protocol="severe", method="SIGMA")
    if figure.metric != "severe_mean"
  }
  assert list(row) == list(published.SEVERE_TASKS)
  (mean,) = figures(metric="severe_mean", method="SIGMA")
  found = published.severe_mean(row)
  assert found == pytest.approx(mean.value, abs=0.006)
  # By hand: 70.9 + 89.7 + 82.9 + 27.2 + 55.1 + 79.9 + 82.2 + 22.4 = 510.3.
  assert found == pytest.approx(5.103 / 8)


def test_the_mean_of_severe_needs_all_tasks():
  row = dict.fromkeys(published.SEVERE_TASKS, 0.25)
  assert published.severe_mean(row) == pytest.approx((7 * 0.25 + 0.75) / 8)
  del row["ucfrep"], row["charades"]
  with pytest.raises(ValueError, match="missing: ucfrep, charades"):
    published.severe_mean(row)


def test_figures_are_of_one_scale_and_given_once():
  assert all(0 < figure.value < 1 for figure in published.FIGURES)
  keys = [figure[:4] for figure in published.FIGURES]
  assert len(set(keys)) == len(keys)
  # 6 x 4 of the linear probe, 10 of fine-tuning, 2 of DAVIS, 8 + 2 of SEVERE.
  assert len(keys) == 24 + 10 + 2 + 10


def test_figures_of_a_data_set():
  found = published.by_protocol("davis", "miou")
  assert found == {"overclustering": {"SIGMA-DINO": 0.565, "VideoMAE": 0.509}}
  assert published.by_protocol("", "miou") == {}
  both = published.by_protocol("ssv2", "top1")
  assert set(both) == {"linear, augmented", "finetune", "severe"}
  assert both["linear, augmented"]["SIGMA-DINO"] == 0.208


def result(protocol, dataset, metric, value, low=None, high=None, **more):
  names = ("protocol", "dataset", "metric", "value", "low", "high")
  return dict(
    zip(names, (protocol, dataset, metric, value, low, high), strict=True),
    **more,
  )


def cells(text):
  """Rows of the table, a list of cells each."""
  return [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in text.splitlines()
    if line.startswith("|")
  ]


def test_ours_stands_beside_the_published_ones():
  text = published.markdown(
    [
      result("finetune", "ssv2", "top1", 0.7126, 0.70, 0.725),
      result("severe", "ucfrep", "error", 0.2, 0.1, 0.3),
      result("linear", "toy", "mean_per_class", 0.5),
    ]
  )
  head, rule, *lines = cells(text)
  assert head[:4] == ["protocol", "data set", "metric", "this run"]
  assert (
    "SIGMA (published)" in head
    and "MGMAE, pre-trained on SSv2 (published)" in head
  )
  assert not any("DINO" in cell for cell in head)  # it has none of these
  assert {len(line) for line in (head, rule, *lines)} == {len(head)}
  assert all(cell.endswith("(published)") for cell in head[4:])
  found = {
    tuple(line[:2]): dict(zip(head, line, strict=True)) for line in lines
  }
  ssv2 = found["finetune", "ssv2"]
  assert ssv2["metric"] == "top-1, %"
  assert ssv2["this run"] == "71.3 [70.0, 72.5]"
  assert ssv2["VideoMAE (published)"] == "68.5"
  assert ssv2["MGMAE (published)"] == "-"
  counting = found["severe", "ucfrep"]
  assert counting["this run"] == "0.200 [0.100, 0.300]"
  assert counting["SIGMA (published)"] == "0.178"
  # What was published and not run shows; what has no figure stands alone.
  assert found["finetune", "kinetics400"]["this run"] == "-"
  assert found["severe", "mean"]["SIGMA (published)"] == "64.3"
  assert found["linear", "toy"]["this run"] == "50.0"
  assert set(found["linear", "toy"].values()) >= {"-", "mean per class, %"}
  assert len(lines) == 2 + 9 + 1
  assert "not measured here" in text and "2407.15447" in text


def test_without_published_figures_none_are_mentioned():
  text = published.markdown(
    [
      result("linear", "toy", "top1", 0.5, method="a|b"),
      result("linear", "toy", "top1", None, method="random"),
    ]
  )
  assert "ublished" not in text
  assert "| a\\|b | random |" in text.splitlines()[0]
  assert text.splitlines()[2].endswith("| 50.0 | - |")


def test_two_results_for_one_cell_are_refused():
  row = result("finetune", "ssv2", "top1", 0.7)
  with pytest.raises(ValueError, match="two results for ssv2 of 'this run'"):
    published.markdown([row, row])
