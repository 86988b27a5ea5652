"""The benchmarks that hold sigma_jax against PyTorch, run small."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from sigma_jax.bench import loss_inputs, output

ROOT = pathlib.Path(__file__).parents[2]


def bench(*arguments):
  """Exit code, standard output and standard error of one command."""
  done = subprocess.run(
    [sys.executable, "-m", "sigma_jax.bench", *arguments],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=300,
  )
  return done.returncode, done.stdout, done.stderr


LOSS = ("loss", "--tubes=301", "--prototypes=24", "--dim=16", "--turns=2")


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_loss_agrees_with_pytorch(labels):
  modes = ("auto", "keep", "recompute", "reference")
  code, out, err = bench(*LOSS, "--mode", *modes, "--labels", labels, "--json")
  assert code == 0, err
  result = json.loads(out)
  assert [row["contender"] for row in result["rows"]] == ["pytorch", *modes]
  for row in result["rows"]:
    assert row["seconds"] >= row["least"] > 0
    assert row["times_faster"] > 0
    assert row["loss_differs"] < 1e-6 and row["gradients_differ"] < 1e-5
    assert row["labels_differ"] == 0
  assert result["contenders"]["auto"]["jax"]


def test_loss_prints_a_table_without_pytorch():
  code, out, err = bench(*LOSS, "--mode=auto", "--no-torch")
  assert code == 0, err
  title, head, row, *_ = out.splitlines()
  assert title.startswith("loss: 301 tubes x 24 prototypes x 16")
  assert head.split() == ["contender", "seconds", "least", "extra_mb"]
  assert row.startswith("auto ")


def test_memory_of_the_two_modes():
  """The kept kernels of both sides, 2 x 24 MB, are the difference."""
  code, out, err = bench(
    *("loss", "--tubes=6000", "--prototypes=1000", "--dim=16", "--turns=1"),
    *("--mode", "keep", "recompute", "--no-torch", "--json"),
  )
  assert code == 0, err
  keep, recompute = json.loads(out)["rows"]
  assert keep["extra_mb"] - recompute["extra_mb"] > 30


def test_step_trains_the_same_model_as_pytorch():
  code, out, err = bench(
    "step", "--config=configs/toy.py", "--batch=2", "--turns=1", "--json"
  )
  assert code == 0, err
  result = json.loads(out)
  names = [row["contender"] for row in result["rows"]]
  assert names == ["matmul", "sigma_jax", "pytorch"]
  ours, theirs = (result["contenders"][n] for n in names[1:])
  assert ours["parameters"] == theirs["parameters"] > 1e5
  for row in result["rows"][1:]:
    assert 0 < row["share_of_peak"] < 1
    assert row["clips_per_s"] == pytest.approx(2 / row["seconds"])


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("step", "--config=configs/nothing.py"), "configs/nothing.py"),
    (("step", "--config=configs/eval/knn_toy.py"), "'probe' trains no steps"),
    (("step", "--config=configs/toy.py", "--set", "x"), "is not KEY=VALUE"),
    (
      ("step", "--config=configs/toy.py", "--remat=some"),
      "model.remat must be",
    ),
    (("loss", "--labels=so"), "invalid choice"),
    (("lost",), "invalid choice"),
    ((*LOSS[:1], "--tubes=0"), "--tubes must be positive"),
  ],
)
def test_wrong_input_is_answered_in_one_line(arguments, message):
  code, out, err = bench(*arguments)
  assert code == 2 and not out
  assert message in err
  assert err.startswith("error: ") and err.count("\n") == 1


def test_differences_leave_out_tubes_with_other_labels():
  wanted = {
    "loss": np.float32(2.0),
    "labels": np.array([[0, 1], [2, 3]]),
    "by_video": np.array([[1.0], [2.0]]),
    "by_target": np.array([[1.0], [2.0]]),
    "by_prototypes": np.array([[4.0]]),
  }
  found = wanted | {
    "loss": np.float32(2.2),
    "labels": np.array([[0, 1], [2, 0]]),
    "by_video": np.array([[1.1], [9.0]]),
  }
  apart = loss_inputs.differences(found, wanted)
  assert apart == pytest.approx({"loss": 0.1, "labels": 0.5, "gradients": 0.1})


def test_a_table_is_aligned():
  rows = [{"name": "a", "value": 1.23456}, {"name": "long", "value": None}]
  assert output.table(rows) == "name  value\na     1.235\nlong      -"
  assert output.table([]) == "(no rows)"
