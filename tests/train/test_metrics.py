"""Metrics file, progress line and collapse warnings."""

import json
import types

import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.methods import method
from sigma_jax.train import metrics

HEALTHY = {"target_std": 1.0, "used": 0.9, "perplexity": 40.0}


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch):
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)


def write(workdir, start, steps, loss):
  writer = metrics.Writer(workdir, start)
  for step in steps:
    writer.write(step, {"loss": loss + step})
  writer.close()


def test_lines_after_the_resumed_step_are_cut(tmp_path):
  write(tmp_path, 0, (2, 4, 6), 0.0)
  with (tmp_path / metrics.JSONL).open("a") as file:
    file.write('{"step": 8, "lo')  # a kill in mid-line
  write(tmp_path, 4, (6, 8), 100.0)
  rows = metrics.read(tmp_path)
  assert [row["step"] for row in rows] == [2, 4, 6, 8]
  assert [row["loss"] for row in rows] == [2, 4, 106, 108]
  for line in (tmp_path / metrics.JSONL).read_text().splitlines():
    json.loads(line)


def test_a_fresh_run_starts_a_fresh_file(tmp_path):
  write(tmp_path, 0, (1, 2), 0.0)
  write(tmp_path, 0, (1,), 5.0)
  assert metrics.read(tmp_path) == [{"step": 1, "loss": 6.0}]
  assert metrics.read(tmp_path / "nowhere") == []


def test_lines_can_be_read_while_the_run_goes_on(tmp_path):
  writer = metrics.Writer(tmp_path)
  writer.write(1, {"loss": float("nan")})
  assert [row["step"] for row in metrics.read(tmp_path)] == [1]
  writer.close()


def test_progress_line(capsys, monkeypatch):
  clock = iter([100.0, 110.0, 135.0])
  monkeypatch.setattr(metrics.time, "perf_counter", lambda: next(clock))
  progress = metrics.Progress(20, 100, 8)
  scalars = {"loss": 1.5, "learning_rate": 3e-4, **HEALTHY}
  speed = progress.line(40, scalars, waited=2.0)
  assert speed == {"clips_per_second": 16.0, "wait_share": 0.2}
  out = capsys.readouterr().out
  for text in ("step 40/100", "loss 1.5", "16.0 clips/s", "20%", "ETA 0m30s"):
    assert text in out
  assert "rate 3.00e-04" in out
  progress.leave_out(20.0)  # of the 25 seconds since
  speed = progress.line(60, scalars, waited=2.0)
  assert speed == {"clips_per_second": 32.0, "wait_share": 0.0}


def test_what_is_drawn_alone_is_no_line_of_the_file(tmp_path, monkeypatch):
  drawn = []
  board = types.SimpleNamespace(
    write_scalars=lambda *each: drawn.append(each), close=lambda: None
  )
  monkeypatch.setattr(metrics, "_tensorboard", lambda folder: board)
  writer = metrics.Writer(tmp_path)
  writer.draw(2, {"evaluation/knn": 0.5})
  writer.write(3, {"loss": 1.0})
  writer.close()
  assert drawn == [(2, {"evaluation/knn": 0.5}), (3, {"loss": 1.0})]
  assert metrics.read(tmp_path) == [{"step": 3, "loss": 1.0}]


def watch_of(loss, length=None):
  """The watch of a run of the masked family with 64 prototypes."""
  run = settings_lib.Settings.from_config(
    {"loss": {"num_prototypes": 64, **loss}}
  )
  length = length and method.Length(length, 10.0)
  return metrics.Watch(method.of(run, length).signs)


@pytest.mark.parametrize(
  ("sick", "symptom", "advice"),
  [
    ({"target_std": 0.05}, "lost their variation", "loss.kind='assignment'"),
    ({"used": 0.2}, "only 20% of the 64 prototypes", "loss.num_prototypes"),
    ({"perplexity": 2.0}, "perplexity 2.0 of 64", "loss.epsilon"),
  ],
)
def test_a_collapse_is_told_once_with_advice(sick, symptom, advice):
  watch = watch_of({})
  assert watch.check(1, HEALTHY) == []
  (warning,) = watch.check(2, HEALTHY | sick)
  assert symptom in warning and advice in warning
  assert watch.check(3, HEALTHY | sick) == []
  assert watch.check(4, HEALTHY) == []


def test_prototypes_are_not_judged_in_warmup_nor_where_there_are_none():
  watch = watch_of({}, length=100)
  sick = HEALTHY | {"used": 0.1, "perplexity": 1.0}
  assert watch.check(9, sick) == []
  assert len(watch.check(10, sick)) == 2
  plain = watch_of({"kind": "l2"})
  assert plain.check(50, sick) == []
