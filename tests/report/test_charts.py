"""Charts stay in their frame and keep what matters."""

import math
import re

import pytest

from sigma_jax.report import charts


@pytest.mark.parametrize(
  ("low", "high"), [(0, 1), (6.7, 9.4), (0, 3e-5), (-2, 2), (5, 5), (0, 0)]
)
def test_ticks_are_few_round_and_reach_the_top(low, high):
  ticks = charts.nice_ticks(low, high, 4)
  assert 3 <= len(ticks) <= 7
  assert ticks[-1] >= high - 1e-9
  assert all(math.isfinite(tick) for tick in ticks)


@pytest.mark.parametrize(
  ("value", "text"),
  [(12000, "12k"), (0.0015, "0.0015"), (5e-5, "5e-5"), (0, "0"), (2e6, "2M")],
)
def test_numbers_are_short(value, text):
  assert charts.number(value) == text


def test_chart_names_axes_and_newest_value():
  series = charts.Series("", "a", [(1, 3.0), (2, math.nan), (3, 2.5)])
  reference = charts.Reference("chance", 4.0)
  text = charts.line_chart("Loss", "nats", [series], reference)
  for word in ("Loss", "nats", ">step<", "chance", "<b>2.5</b>"):
    assert word in text
  assert "nan" not in text


def test_one_point_and_a_constant_can_be_drawn():
  for points in ([(5, 1.0)], [(1, 2.0), (2, 2.0)]):
    text = charts.line_chart("x", "y", [charts.Series("", "a", points)])
    assert "nan" not in text


def test_long_curves_are_thinned_but_keep_their_spikes():
  points = [(i, 100.0 if i == 3333 else 1.0) for i in range(10_000)]
  text = charts.line_chart("x", "y", [charts.Series("", "a", points)])
  path = re.search(r'class="line a" d="([^"]+)"', text)[1]
  heights = [float(p.split()[1]) for p in path[1:].split("L")]
  assert len(heights) < 500
  assert max(heights) - min(heights) > 100


@pytest.mark.parametrize(
  ("values", "exponent"),
  [
    ((0.0, 0.0), 0),
    ((0.012, 0.5), 0),
    ((2e-4, 5e-3), -3),
    ((-3e-5, 1e-5), -5),
    ((3e8, 1.0), 8),
    ((12000.0, 3.0), 0),
  ],
)
def test_the_power_of_an_axis(values, exponent):
  assert charts.power(list(values)) == exponent


def test_all_numbers_of_a_chart_are_in_its_axis_power():
  """The newest value beside the name too."""
  series = charts.Series("rate", "a", [(1, 1e-5), (2, 4.77e-4)])
  reference = charts.Reference("least", 2e-4)
  text = charts.line_chart("Rate", "", [series], reference)
  assert ">× 10⁻⁴</text>" in text
  assert "<b>4.77</b>" in text
  ticks = re.findall(r'text-anchor="end">([^<]+)</text>', text)
  assert ticks == ["2", "4", "6", "least"]
  assert "e-" not in text


@pytest.mark.parametrize("value", [0.0, 50.0, 100.0])
def test_a_reference_s_name_is_never_cut_off(value):
  series = charts.Series("", "a", [(1, 0.0), (2, 100.0)])
  text = charts.line_chart("x", "", [series], charts.Reference("all", value))
  y = float(re.search(r'class="refname" x="[\d.]+" y="([\d.]+)"', text)[1])
  assert 11 <= y <= 168 - 30  # of letters 11 high
