"""One run at a time in a workdir."""

import contextlib
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from sigma_jax import errors
from sigma_jax.train import lock

_HOLD = """
import sys, time
from sigma_jax.train import lock
with lock.hold(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


@contextlib.contextmanager
def another_process(folder):
  program = [sys.executable, "-c", _HOLD, str(folder)]
  with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as run:
    assert run.stdout.readline() == "held\n"
    try:
      yield run
    finally:
      run.kill()


def test_a_second_run_is_told_of_the_first_and_a_killed_one_blocks_nothing(
  tmp_path,
):
  with another_process(tmp_path) as first:
    for _ in range(2):  # being refused leaves the first's name there
      with (
        pytest.raises(errors.UserError, match=f"process {first.pid} on") as hit,
        lock.hold(tmp_path),
      ):
        pass
    assert str(tmp_path) in str(hit.value) and "--workdir" in str(hit.value)
    first.send_signal(signal.SIGKILL)
    first.wait()
    with lock.hold(tmp_path):
      pass
  with lock.hold(tmp_path):
    pass


def test_the_end_of_a_run_by_an_error_gives_the_folder_back(tmp_path):
  with pytest.raises(ZeroDivisionError), lock.hold(tmp_path / "new"):
    _ = 1 / 0
  with lock.hold(tmp_path / "new"):
    pass


def test_where_there_are_no_locks_the_run_goes_on_and_says_so(
  tmp_path, monkeypatch
):
  def no_locks(file, flags):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(lock.fcntl, "flock", no_locks)
  said = []
  with lock.hold(tmp_path, said.append):
    pass
  assert len(said) == 1 and str(tmp_path) in said[0]


class Bucket:
  """A folder whose path looks remote to the lock."""

  def __init__(self, folder, monkeypatch):
    self.file = epath.Path(folder) / lock.NAME
    monkeypatch.setattr(lock.files, "is_remote", lambda _: True)
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    monkeypatch.setattr(lock.files, "write_whole", self._put)
    self.folder = folder

  @staticmethod
  def _put(file, content):
    """At once, as a bucket does; of two files written over each other, not."""
    mine = f"{file}.{threading.get_ident()}"
    pathlib.Path(mine).write_text(content)
    os.replace(mine, file)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  return Bucket(tmp_path, monkeypatch)


def test_in_a_bucket_a_run_that_lives_is_seen(bucket):
  with lock.hold(bucket.folder):
    while not bucket.file.exists():
      time.sleep(0.01)
    with (
      pytest.raises(errors.UserError, match="a run is going on"),
      lock.hold(bucket.folder),
    ):
      pass
    assert bucket.file.exists()
  assert not bucket.file.exists()


def test_in_a_bucket_a_killed_run_blocks_nothing(bucket):
  left = {"pid": 1, "host": "gone", "beat": time.time(), "run": "dead"}
  bucket.file.write_text(json.dumps(left))
  said = []
  with lock.hold(bucket.folder, said.append):
    pass
  assert len(said) == 1
  # One that is long dead is not waited for.
  bucket.file.write_text(json.dumps({**left, "beat": time.time() - 1e4}))
  with lock.hold(bucket.folder, said.append):
    pass
  assert len(said) == 1


def test_in_a_bucket_one_of_two_that_start_together_goes_on(
  bucket, monkeypatch
):
  results = []
  written, both_wrote, write = set(), threading.Barrier(2), lock._write

  def together(file, me):
    """Neither looks whose name is there before both have written theirs."""
    write(file, me)
    if me["run"] not in written:
      written.add(me["run"])
      both_wrote.wait()

  monkeypatch.setattr(lock, "_write", together)

  def run():
    try:
      with lock.hold(bucket.folder):
        results.append("ran")
        both_started.wait()
    except errors.UserError:
      results.append("refused")

  both_started = threading.Event()
  threads = [threading.Thread(target=run) for _ in range(2)]
  for thread in threads:
    thread.start()
  while len(results) < 2:
    time.sleep(0.01)
  both_started.set()
  for thread in threads:
    thread.join()
  assert sorted(results) == ["ran", "refused"]


def test_in_a_bucket_no_answer_is_asked_for_again(bucket, monkeypatch):
  """Of who wrote last; a bucket that is busy gives none for a while."""
  answers, read = [], lock._read

  def busy(file):
    answers.append(file)
    return {} if len(answers) < 4 else {"run": "another", "pid": 1}

  monkeypatch.setattr(lock, "_read", busy)
  with (
    pytest.raises(errors.UserError, match="a run is going on"),
    lock.hold(bucket.folder),
  ):
    pass
  assert len(answers) == 4
  assert read(bucket.file)["pid"] > 1  # what was written is the other's affair
