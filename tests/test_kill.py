"""A real run, killed without warning, ends as if nothing had happened."""

import pathlib
import random
import signal
import subprocess
import time

import jax
import numpy as np

from sigma_jax.train import checkpoint, metrics

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = (
  "--config.train.steps=150",
  "--config.train.checkpoint_every=10",
  "--config.train.log_every=5",
)


def start(command, log):
  with log.open("w") as file:
    return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


def wait_for_checkpoint(workdir, process, log):
  """Returns once a complete checkpoint is visible under its step."""
  end = time.monotonic() + 600
  while time.monotonic() < end:
    folder = workdir / "checkpoints"
    if folder.exists() and any(p.name.isdigit() for p in folder.iterdir()):
      return
    assert process.poll() is None, log.read_text()
    time.sleep(0.01)
  raise AssertionError(f"no checkpoint in 600 s:\n{log.read_text()}")


def test_a_killed_run_ends_bitwise_as_an_unbroken_one(toy_command, tmp_path):
  seed = time.time_ns() % 2**32
  delay = random.Random(seed).uniform(0, 0.6)
  print(f"seed {seed}: killed {delay:.3f} s after the first checkpoint")
  killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
  log = tmp_path / "log.txt"

  process = start(toy_command(killed, *FLAGS), log)
  try:
    wait_for_checkpoint(killed, process, log)
    time.sleep(delay)
  finally:
    process.kill()
  assert process.wait() == -signal.SIGKILL, "the run had ended by itself"
  steps = [row["step"] for row in metrics.read(killed)]
  print(f"it had logged up to step {steps[-1]}")

  for workdir in (killed, unbroken):
    process = start(toy_command(workdir, *FLAGS), log)
    assert process.wait(timeout=240) == 0, log.read_text()
    resumed = "resuming after step" in log.read_text()
    assert resumed == (workdir == killed), log.read_text()

  (params, step), (wanted, last) = map(
    checkpoint.restore_params, (killed, unbroken)
  )
  assert step == last == 150
  for (path, a), b in zip(
    jax.tree.leaves_with_path(params), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
  curves = [
    [(row["step"], row["loss"]) for row in metrics.read(workdir)]
    for workdir in (killed, unbroken)
  ]
  assert curves[0] == curves[1]
  assert [step for step, _ in curves[0]] == list(range(5, 151, 5))
  assert list((unbroken / "tensorboard").iterdir())
