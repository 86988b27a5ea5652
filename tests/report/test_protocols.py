"""The page of a suite: better and worse, pictures, what was not run."""

import re

import numpy as np
import pytest
from PIL import Image

from sigma_jax.suite import page as protocols


def row(encoder, value, half=0.05, **more):
  return {
    **{"name": "a", "protocol": "finetune", "dataset": "toy"},
    **{"metric": "top1", "encoder": encoder, "value": value},
    **{"low": value - half, "high": value + half, "seconds": 60.0},
    **more,
  }


@pytest.fixture
def page(tmp_path):
  """`page(*rows, **changes)`: the page of these results."""

  def build(*rows, **changes):
    content = {"init": "runs/<toy>", "step": 1000, "rows": list(rows)}
    content |= {"device": "1 x cpu", "versions": {"jax": "1.2"}}
    content |= {"failed": [], "skipped": []}
    return protocols.build(content | changes, tmp_path)

  return build


def states(text):
  return re.findall(r'<td class="\w*">([+−.\d]+) <small>(\w*)</small>', text)


def test_less_error_is_better(page):
  pair = (("pretrained", 0.2), ("random", 0.6))
  counted = [row(e, v, metric="error", dataset="reps") for e, v in pair]
  text = page(*(row(e, v) for e, v in pair), *counted)
  assert states(text) == [("−40.0", "worse"), ("−0.400", "better")]
  assert "worse in 1, better in 1" in text
  assert "0.200 <small>[0.150, 0.250]" in text
  # An error is no share, so it is in the table alone.
  assert text.count('class="track ') == 2
  assert states(page(row("pretrained", 0.5), row("random", 0.45))) == [
    ("+5.0", "undecided")
  ]


def test_one_encoder_is_compared_with_nothing(page):
  text = page(row("pretrained", 0.7, dataset="ssv2"))
  assert "what pre-training adds cannot be said" in text
  assert states(text) == []
  assert "SIGMA 71.1" in text and "not measured here" in text
  assert "not measured here" not in page(row("pretrained", 0.7))


def test_chance_is_marked_where_it_is_known(page):
  assert 'class="chance"' in page(row("pretrained", 0.7, chance=0.1))
  assert 'class="chance"' not in page(row("pretrained", 0.7))


def test_a_mean_has_no_interval(page):
  mean = {"metric": "severe_mean", "low": None, "high": None}
  text = page(row("pretrained", 0.6, **mean), row("random", 0.5, **mean))
  assert states(text) == [("+10.0", "")]
  assert "60.0 <small></small>" in text


def test_pictures_of_runs_are_in_the_page(page, tmp_path):
  rng = np.random.default_rng(0)
  noise = Image.fromarray(rng.integers(0, 256, (40, 3000, 3), np.uint8))
  (tmp_path / "a/overlays").mkdir(parents=True)
  noise.save(tmp_path / "a/confusion.png")
  for number in range(6):
    noise.save(tmp_path / f"a/overlays/{number}_<clip>.png")
  (tmp_path / "a/overlays/1_<clip>.png").write_bytes(b"no picture")
  text = page(row("pretrained", 0.7))
  assert text.count('src="data:image/png;base64,') == 1
  assert text.count('src="data:image/jpeg;base64,') == 3
  assert "1_&lt;clip&gt;.png cannot be read" in text
  assert "<clip>" not in text
  noise.save(tmp_path / "whole.jpg", quality=85)
  whole = (tmp_path / "whole.jpg").stat().st_size
  longest = max(map(len, re.findall(r"jpeg;base64,([^\"]*)", text)))
  assert longest < whole * 4 / 3 * 0.5  # shrunk to 1400 of 3000 pixels


def test_what_was_not_run_is_told(page):
  failed = [{"name": "b", "reason": "out of <memory>"}]
  skipped = [{"name": "c", "reason": "data.val is not there: d"}]
  text = page(failed=failed, skipped=skipped)
  assert "b failed: out of &lt;memory&gt;" in text
  assert "c skipped: data.val is not there: d" in text
  assert "No protocol is done." in text
  assert "Every protocol ran." in page(row("pretrained", 0.7))
