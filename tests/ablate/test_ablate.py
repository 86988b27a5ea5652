"""Ablations: the ready smoke grid, killed and resumed; the logic with fakes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sigma_jax import errors, tasks
from sigma_jax.ablate import grid as grid_lib
from sigma_jax.ablate import table
from sigma_jax.ablate.__main__ import main
from sigma_jax.suite import run as suite
from sigma_jax.train import lock

ROOT = pathlib.Path(__file__).parents[2]
SMOKE = "configs/ablations/smoke.py"
GRID = """
def get_config():
  return {{
    "config": "configs/toy.py",
    "judge": ["configs/eval/knn_toy.py"],
    "seeds": (0, 1, 2),
    "reference": "base",
    "rows": {{
      "base": {{"title": "Base"}},
      "k": {{"title": "K", "vary": {{"loss": {{"num_prototypes": (16, 64)}}}}}},
      "l2": {{"set": {{"loss": {{"kind": "l2"}}}}, "published": "L2"}},
      {rows}
    }},
    {more}
  }}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
  """`write(rows, more)`: a grid in a folder with configs and empty data."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  for folder in ("toy", "mini_ssv2"):
    (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("train.csv", "val.csv", "label_sets.json"):
      (tmp_path / "data" / folder / name).write_text("")
  for part in ("train", "val"):
    (tmp_path / "data" / "toy_records" / part).mkdir(parents=True)

  def grid(rows="", more=""):
    (tmp_path / "grid.py").write_text(GRID.format(rows=rows, more=more))
    return "grid.py"

  return grid


@pytest.fixture
def fake(monkeypatch):
  """Runs that note their folder and give k thousandths, and more by seed."""

  class Fake:
    behave, ran = {}, ()

    def train(self, config, workdir):
      name = "/".join(workdir.parts[-3:-1])
      self.ran += (name,)
      if name in self.behave:
        raise self.behave[name]
      workdir.mkdir(parents=True, exist_ok=True)
      (workdir / "k.txt").write_text(str(config.loss.num_prototypes))

    def judge(self, init, workdir, configs, changes, baseline):
      value = int((pathlib.Path(init) / "k.txt").read_text()) / 1000
      value += changes["seed"] / 100
      row = {"protocol": "knn", "dataset": "toy", "metric": "top1"}
      row |= {"encoder": "pretrained", "value": value}
      rows = [row, row | {"encoder": "random", "value": 0.01}]
      return {"rows": rows[: 1 + baseline], "failed": []}

    def names(self):
      ran, self.ran = list(self.ran), ()
      return ran

  fake = Fake()
  monkeypatch.setattr(tasks, "run", fake.train)
  monkeypatch.setattr(suite, "judge", fake.judge)
  return fake


def result(content, row):
  (line,) = [line for line in content["lines"] if line["row"] == row]
  return line["results"][0]


def read(workdir):
  return json.loads((pathlib.Path(workdir) / "results.json").read_text())


def same(content):
  """What must not depend on when a run was interrupted."""

  def without(value):
    if isinstance(value, dict):
      return {k: without(v) for k, v in value.items() if k != "seconds"}
    return [without(v) for v in value] if isinstance(value, list) else value

  return without(content)


def test_the_smoke_grid_killed_and_resumed_ends_as_unbroken(
  toy_clips, tmp_path
):
  def start(workdir, log):
    data = [
      f"--{kind}=data.{key}={toy_clips / name}"
      for kind in ("set", "judge-set")
      for key, name in (
        ("train", "train.csv"),
        ("val", "val.csv"),
        ("label_sets", "label_sets.json"),
      )
    ]
    command = [sys.executable, "-m", "sigma_jax.ablate", SMOKE, *data]
    with log.open("w") as file:
      return subprocess.Popen(
        [*command, f"--workdir={workdir}"], cwd=ROOT, stdout=file, stderr=file
      )

  log = tmp_path / "log.txt"
  killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
  process = start(killed, log)
  # Inside the second run, which has saved something.
  saved = killed / "prototypes-8/seed0/pretrain/checkpoints/5"
  try:
    end = time.monotonic() + 600
    while not saved.exists() and time.monotonic() < end:
      assert process.poll() is None, log.read_text()
      time.sleep(0.02)
  finally:
    process.kill()
  assert process.wait() == -signal.SIGKILL
  assert read(killed)["missing"], "it had ended by itself"
  for workdir in (killed, unbroken):
    process = start(workdir, log)
    assert process.wait(timeout=600) == 0, log.read_text()
    before = "prototypes-4/seed0: done before" in log.read_text()
    assert before == (workdir == killed)
  content = read(killed)
  assert same(content) == same(read(unbroken))
  assert content["failed"] == content["missing"] == []
  assert [line["row"] for line in content["lines"]] == [
    *("prototypes-4", "prototypes-8", table.UNTRAINED),
  ]
  assert all(len(line["results"]) == 4 for line in content["lines"])
  texts = [(w / "results.md").read_text() for w in (killed, unbroken)]
  assert texts[0] == texts[1]
  assert (
    "resuming after step" in (killed / "prototypes-8/seed0/log.txt").read_text()
  )
  page = (killed / "report.html").read_text()
  for word in ("http:", "<script", "<link", "@import", "url("):
    assert word not in page
  assert page.count("seed 1 <b>") >= 2 * 5  # curves of every row
  assert ">loss.num_prototypes<" in page  # accuracy over K


def test_means_differences_and_shared_runs(write, fake, tmp_path, capsys):
  assert main([write(), "--workdir=out"]) == 0
  # The base has 64 prototypes: k-64 is the same run. Seeds are the outer loop.
  names = [
    f"{row}/seed{s}" for s in (0, 1, 2) for row in ("base", "k-16", "l2")
  ]
  assert fake.names() == names
  content = read("out")
  found = result(content, "k-16")
  assert found["mean"] == pytest.approx(0.016 + 0.01)
  # 4.302653 is the t of 97.5% at two degrees of freedom.
  half = 4.302653 * 0.01 / np.sqrt(3)
  assert found["low"] == pytest.approx(found["mean"] - half, abs=1e-7)
  assert found["high"] == pytest.approx(found["mean"] + half, abs=1e-7)
  # Seeds move both alike: the difference of pairs is known exactly.
  assert found["difference"] == pytest.approx(-0.048)
  assert found["difference_high"] == pytest.approx(-0.048)
  assert result(content, "k-64")["difference"] == 0
  assert "difference" not in result(content, "base")
  assert result(content, table.UNTRAINED)["mean"] == pytest.approx(0.01)
  text = pathlib.Path("out/results.md").read_text()
  assert "| L2 | 36.4 |" in text and "| K 4000 | 60.3 |" in text
  assert "| l2 | 3 | 7.4 [4.9, 9.9] | 36.4 |" in text
  assert "| K, num_prototypes 16 | 3 | -4.8 [-4.8, -4.8] |" in text
  out = capsys.readouterr().out
  assert "[1/9] base/seed0: begins, 0% of all" in out
  assert "[9/9] l2/seed2: done, 100% of all" in out
  assert main(["grid.py", "--workdir=out"]) == 0
  assert fake.names() == [] and same(read("out")) == same(content)


def test_parts_of_an_array_give_the_same_table(write, fake):
  grid = write()
  assert main([grid, "--workdir=whole"]) == 0
  fake.names()
  for part in (2, 0, 3, 1):
    assert main([grid, "--workdir=parts", f"--only={part}/4"]) == 0
  names = fake.names()
  assert len(names) == len(set(names)) == 9
  assert same(read("parts")) == same(read("whole"))


def test_a_failed_run_ends_nothing_and_is_tried_again(write, fake, capsys):
  fake.behave = {"k-16/seed1": errors.RunStopped("loss is\nnot finite")}
  assert main([write(), "--workdir=out"]) == 1
  assert len(fake.names()) == 9
  content = read("out")
  reason = {"run": "k-16/seed1", "reason": "loss is not finite"}
  assert content["failed"] == [reason]
  assert result(content, "k-16")["seeds"] == 2
  assert "failed k-16/seed1: loss is not finite" in capsys.readouterr().out
  for name in ("results.md", "report.html"):
    text = (pathlib.Path("out") / name).read_text()
    assert "k-16/seed1: loss is not finite" in text
  trace = pathlib.Path("out/k-16/seed1/traceback.txt").read_text()
  assert "Traceback" in trace
  fake.behave = {}
  assert main(["grid.py", "--workdir=out"]) == 0
  assert fake.names() == ["k-16/seed1"] and read("out")["failed"] == []


@pytest.mark.parametrize(
  ("end", "code"),
  [(errors.Preempted("saved"), 143), (KeyboardInterrupt(), 130)],
)
def test_an_interruption_ends_it_and_the_same_command_resumes(
  write, fake, end, code
):
  fake.behave = {"k-16/seed0": end}
  assert main([write(), "--workdir=out"]) == code
  assert fake.names() == ["base/seed0", "k-16/seed0"]
  assert [row["seed"] for row in read("out")["rows"]] == [0] * 3
  fake.behave = {}
  assert main(["grid.py", "--workdir=out"]) == 0
  assert fake.names()[:2] == ["k-16/seed0", "l2/seed0"]


def test_a_run_of_something_else_is_made_again(write, fake):
  assert main([write(), "--workdir=out"]) == 0
  fake.names()
  # Other options of one row: its runs alone. Their folders' own checks refuse
  # what cannot go on.
  write(rows='"l2": {"set": {"loss": {"kind": "l2"}, "data": {"stride": 2}}},')
  assert main(["grid.py", "--workdir=out"]) == 0
  assert fake.names() == [f"l2/seed{s}" for s in range(3)]
  # Other training clips, other ways to judge: all.
  pathlib.Path("data/toy/train.csv").write_text("a 0\n")
  assert main(["grid.py", "--workdir=out"]) == 0
  assert len(fake.names()) == 9
  assert main(["grid.py", "--workdir=out", "--judge-set=probe.knn_k=3"]) == 0
  assert len(fake.names()) == 9


def test_what_another_process_makes_is_left_to_it(write, fake, capsys):
  with lock.hold("out/k-16/seed0"):
    assert main([write(), "--workdir=out"]) == 0
  assert "k-16/seed0" not in fake.names()
  assert "left to another process" in capsys.readouterr().out
  assert read("out")["missing"] == ["k-16/seed0"]


def test_a_damaged_note_of_a_run_is_as_none(write, fake):
  assert main([write(), "--workdir=out"]) == 0
  fake.names()
  for text in ("", "[]", '{"key": 1}'):
    pathlib.Path("out/l2/seed1/run.json").write_text(text)
    assert main(["grid.py", "--workdir=out"]) == 0
    assert fake.names() == ["l2/seed1"]


@pytest.mark.parametrize(
  ("rows", "more", "text"),
  [
    ("", '"seed": (1,)', "unknown key 'seed'; did you mean 'seeds'?"),
    ("", '"seeds": (1, 1)', "seeds must be one or more different"),
    ("", '"judge": ("configs/eval/none.py",)', "there is no such file"),
    ("", '"judge": ()', "judge is empty"),
    ("", '"reference": "bse"', "no row is the reference 'bse'; did you mean"),
    ("", '"set": {"loss": {"epsilom": 1.0}}', "did you mean 'loss.epsilon'?"),
    ("", '"set": {"masking": {"direction": "published"}}', "no effect on any"),
    ("", '"set": {"seed": 1}', "seed is set by the grid's seeds"),
    ("", '"judge_set": {"probe": {"knn": 1}}', "did you mean 'probe.knn_k'?"),
    ("", '"judge_set": {"data": {"val": "v.csv"}}', "is not there: v.csv"),
    ("", '"set": {"data": {"train": "t.csv"}}', "data.train is not there: t"),
    ('"a/b": {},', "", "letters, digits"),
    ('"a": {"sets": {}},', "", "unknown key 'sets'; did you mean 'set'?"),
    ('"a": {"published": "L3"},', "", "published 'L3' is none of 'L2'"),
    ('"a": {"vary": {"loss": {"rounds": 3}}},', "", "values in a tuple, got 3"),
    ('"a": {"vary": {"loss": {"rounds": ("x",)}}},', "", "must be int, got"),
    ('"a": {"config": "configs/non.py"},', "", "no such config file"),
    ('"a": {"config": "configs/eval/knn_toy.py"},', "", "not of pre-training"),
    (
      '"a": {"set": {"loss": {"kind": "l2"}}, '
      '"vary": {"loss": {"rounds": (3,)}}},',
      "",
      "loss.rounds would have no effect: loss.kind is 'l2'",
    ),
  ],
)
def test_mistakes_are_told_in_a_line_before_any_run(
  write, fake, capsys, rows, more, text
):
  assert main([write(rows, more), "--workdir=out"]) == 2
  told = capsys.readouterr().err
  assert text in told and told.count("\n") == 1
  assert fake.names() == [] and not os.path.exists("out")


@pytest.mark.parametrize("part", ["-1/3", "3/3", "1", "x/2", "9/10"])
def test_parts_that_do_not_exist_are_refused(write, fake, capsys, part):
  assert main([write(), "--workdir=out", f"--only={part}"]) == 2
  assert capsys.readouterr().err.startswith("error: --only ")
  assert fake.names() == []


@pytest.mark.parametrize("name", ["paper", "toy"])
def test_the_ready_grids_can_be_read(write, name):
  path = f"configs/ablations/{name}.py"
  grid = grid_lib.load(path, {}, {})
  assert len(grid.seeds) == 3 and grid.reference in {r.name for r in grid.rows}
  assert len(grid.runs) < 3 * len(grid.rows)  # some rows share a run
