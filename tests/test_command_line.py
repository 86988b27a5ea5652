"""`sigma-jax`: its commands, its help, and the demo's stages."""

import importlib
import os
import subprocess
import sys

import pytest

import sigma_jax.__main__ as command_line
from sigma_jax import cli, demo

LIGHT = """
import sys
from sigma_jax import __main__ as command_line
code = command_line.main(["--help"])
heavy = {"jax", "numpy", "tensorflow", "absl", "ml_collections"}
sys.exit(code or ", ".join(heavy & set(sys.modules)) or 0)
"""
PROMISED = (
  "train evaluate suite features prepare check manifests export import parity "
  "bench demo report"
)


@pytest.fixture
def called(monkeypatch):
  """Leaves sys.argv and sys.path as they were."""
  monkeypatch.setattr(sys, "argv", ["sigma-jax"])
  monkeypatch.setattr(sys, "path", list(sys.path))


def test_help_names_every_command_and_imports_nothing():
  done = subprocess.run(
    [sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 0, done.stderr
  lines = [x for x in done.stdout.splitlines() if x.startswith("  ")]
  assert [line.split()[0] for line in lines] == list(command_line.COMMANDS)
  assert set(PROMISED.split()) <= set(command_line.COMMANDS)
  assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_each_command_has_the_help_of_its_own_parser(called, capsys, name):
  try:
    code = command_line.main([name, "--help"])
  except SystemExit as stop:
    code = stop.code
  assert code == 0
  out = capsys.readouterr().out
  module = command_line.COMMANDS[name].module
  if module == "sigma_jax.main":
    assert "--workdir" in out and "--config" in out
  else:
    assert out.startswith(f"usage: sigma-jax {name} ")


def test_modules_are_called_as_before(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["/x/sigma_jax/features.py", "--help"])
  assert cli.program("sigma_jax.features") == "python -m sigma_jax.features"
  monkeypatch.setattr(sys, "argv", ["/x/bin/sigma-jax", "features"])
  assert cli.program("sigma_jax.features") == "python -m sigma_jax.features"


def test_mistakes(called, capsys):
  assert command_line.main(["fetures"]) == 2
  assert capsys.readouterr().err == (
    "error: no such command: fetures; did you mean features? (sigma-jax --help "
    "lists them)\n"
  )


def test_arguments_and_exit_codes_go_through(called, monkeypatch):
  seen = []
  for each in command_line.COMMANDS.values():
    module = importlib.import_module(each.module)
    monkeypatch.setattr(module, "main", lambda argv: seen.append(argv) or 7)
  for name, each in command_line.COMMANDS.items():
    assert command_line.main([name, "--a=b c"]) == 7
    assert seen.pop() == [*each.first, "--a=b c"]


def test_the_demo_runs_its_stages_in_order(monkeypatch, capsys, tmp_path):
  data, run = tmp_path / "the data", tmp_path / "the run"
  calls = []
  monkeypatch.setattr(demo, "_wait", lambda command: calls.append(command) or 0)
  given = ["--data", str(data), f"--workdir={run}", "--config.train.steps=3"]
  assert demo.main(given) == 0
  # Where the data lies is told to the jobs too, not only to its maker.
  told = [
    f"--config.data.train={data}/records/train",
    f"--config.data.val={data}/records/val",
    f"--config.data.label_sets={data}/label_sets.json",
  ]
  assert [call[2:] for call in calls] == [
    ["sigma_jax.data.toy", "--out", str(data)],
    *(
      ["sigma_jax.data.prepare", f"--manifest={data}/{part}.csv"]
      + [f"--out={data}/records/{part}"]
      for part in ("train", "val")
    ),
    ["sigma_jax.main", "--config=configs/toy.py", f"--workdir={run}", *told]
    + ["--config.train.steps=3"],
    ["sigma_jax.main", "--config=configs/eval/knn_toy.py"]
    + [f"--workdir={run}/probe", f"--config.init={run}", *told],
    ["sigma_jax.report", str(run)],
  ]
  out = capsys.readouterr().out
  assert out.splitlines()[-1] == f"report: {run}/report.html"
  for stage in ("data", "prepare val", "pretrain", "probe", "report"):
    assert f"== {stage}: 0 s" in out


def test_a_failed_stage_ends_the_demo(monkeypatch, capsys):
  codes = iter([0, 0, 0, 143])
  monkeypatch.setattr(demo, "_wait", lambda command: next(codes))
  assert demo.main([]) == 143
  assert "== pretrain failed (exit 143, 0 s)" in capsys.readouterr().err


def test_a_killed_stage_is_said(monkeypatch, capsys):
  killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
  monkeypatch.setattr(demo.subprocess, "Popen", _popen(killed))
  assert demo.main([]) == 1
  assert "-m was ended" not in (err := capsys.readouterr().err)
  assert err == "error: sigma_jax.data.toy was ended by signal 9\n"


def _popen(command):
  popen = subprocess.Popen
  return lambda _: popen(command, env=os.environ)
