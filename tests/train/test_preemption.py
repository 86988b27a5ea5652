"""SIGTERM and Ctrl-C in one process; several are in test_hosts.py."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from sigma_jax import errors
from sigma_jax.train import checkpoint, preemption

ROOT = pathlib.Path(__file__).parents[2]
CODES = [
  (signal.SIGTERM, errors.Preempted, 143, "SIGTERM"),
  (signal.SIGINT, errors.Interrupted, 130, "Ctrl-C"),
]


@pytest.mark.parametrize(("number", "kind", "code", "word"), CODES)
def test_the_next_poll_ends_the_run(number, kind, code, word):
  before = signal.getsignal(number)
  with preemption.watching():
    with preemption.watching():  # a loop within a task
      preemption.poll(" too early")
    os.kill(os.getpid(), number)
    with pytest.raises(kind, match=f"stopped by {word} here; the same") as e:
      preemption.poll(" here")
    assert e.value.code == code
    assert preemption.asked(), "and every later one"
  assert signal.getsignal(number) == before
  assert not preemption.asked(), "nothing is watched"


@pytest.mark.parametrize(("number", "kind", "code", "word"), CODES)
def test_training_saves_and_resumes(
  number, kind, code, word, tiny, pretrain, tmp_path, monkeypatch
):
  real, polls = preemption.asked, []

  def asked():
    polls.append(1)
    if len(polls) == 5:  # one before the first step
      os.kill(os.getpid(), number)
    return real()

  monkeypatch.setattr(preemption, "asked", asked)
  with pytest.raises(kind, match=f"by {word} after step 4, which is saved"):
    pretrain(tiny, tmp_path)
  monkeypatch.undo()
  assert checkpoint.restore_params(tmp_path)[1] == 4
  opened = []
  pretrain(tiny, tmp_path, opened=opened)
  assert opened == [4]


PROGRAM = """
import sys, time
from sigma_jax.train import preemption
preemption.PATIENCE = (float(sys.argv[1]), 100.0)
with preemption.watching():
  print("ready", flush=True)
  time.sleep(300)  # for XLA, compiling
"""


def busy(patience):
  process = subprocess.Popen(
    [sys.executable, "-c", PROGRAM, str(patience)],
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  return process


def test_a_second_ctrl_c_ends_a_busy_process_at_once():
  process = busy(patience=99)
  process.send_signal(signal.SIGINT)
  assert "a second one ends this process" in process.stderr.readline()
  time.sleep(0.3)  # nobody is faster
  process.send_signal(signal.SIGINT)
  _, told = process.communicate(timeout=60)
  assert process.returncode == 130
  assert told.startswith("stopped by Ctrl-C (a second signal); what was saved")
  assert "Traceback" not in told


def test_who_finds_no_place_to_stop_ends_all_the_same():
  process = busy(patience=0.2)
  process.send_signal(signal.SIGTERM)
  _, told = process.communicate(timeout=60)
  assert process.returncode == 143
  assert "without a place to stop" in told and "Traceback" not in told
