"""The stream of clips goes on as if nothing had happened, and at no cost."""

import collections
import json
import os
import pathlib
import random
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sampling

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = pathlib.Path(__file__).with_name("stream_host.py")
STEPS, BATCH, ROWS = 40, 4, 13  # an epoch is three steps and a quarter


def complete(path):
  """What was written to the end of a line."""
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture
def start(tmp_path, video_folder):
  """`start(first_step, host, hosts)`: a process and the file it writes."""
  processes = []

  def start(first, host, hosts):
    out = tmp_path / f"{len(processes)}.jsonl"
    numbers = map(str, (first, STEPS, host, hosts))
    command = [sys.executable, SCRIPT, video_folder / "train.txt", *numbers]
    with out.open("w") as file:
      process = subprocess.Popen(
        command, stdout=file, env=os.environ | {"PYTHONPATH": str(ROOT)}
      )
    processes.append(process)
    return process, out

  yield start
  for process in processes:
    process.kill()
    process.wait()


def test_a_stream_killed_and_resumed_on_two_hosts_is_the_same(
  start, video_folder
):
  seed = time.time_ns() % 2**32
  clips = random.Random(seed).randrange(1, STEPS * BATCH // 2)
  print(f"seed {seed}: killed after {clips} clips")
  killed, first = start(0, 0, 1)
  end = time.monotonic() + 90
  while len(complete(first)) < clips:
    assert killed.poll() is None and time.monotonic() < end
    time.sleep(0.01)
  killed.kill()
  assert killed.wait() == -signal.SIGKILL, "it had ended by itself"
  before = complete(first)
  steps = collections.Counter(line["step"] for line in before)
  resumed = sum(count == BATCH for count in steps.values())
  hosts = [start(resumed, host, 2) for host in range(2)]
  stream = runpy.run_path(str(SCRIPT))["stream"]
  unbroken = list(stream(video_folder / "train.txt", 0, STEPS, 0, 1))
  assert [process.wait(90) for process, _ in hosts] == [0, 0]

  found = [line for line in before if line["step"] < resumed]
  found += [line for _, out in hosts for line in complete(out)]
  found.sort(key=lambda line: (line["step"], line["slot"]))
  assert found == unbroken
  assert len(found) == STEPS * BATCH
  files = [line["file"] for line in found]
  for epoch in range(STEPS * BATCH // ROWS):
    names = files[epoch * ROWS : (epoch + 1) * ROWS]
    assert len(set(names)) == ROWS
  assert len({tuple(line["frames"]) for line in found}) > 12
  assert len({tuple(line["box"]) for line in found}) > 12


class Numbers:
  """A source of `count` rows without any files."""

  path = "numbers"
  num_frames = 50

  def __init__(self, count):
    self.files = tuple(map(str, range(count)))
    self.labels = np.arange(count, dtype=np.int32)

  def __len__(self):
    return len(self.files)

  def open(self, row, timeout):
    return self

  def read(self, indices, box_of=None, size=0, antialias=True):
    box_of(60, 50)
    return np.zeros((len(indices), size, size, 3), np.uint8)

  def times(self, indices):
    return np.zeros(len(indices))

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


def make_settings(batch_size):
  return settings_lib.Settings(
    data=settings_lib.Data(num_frames=2, size=16, workers=2, prefetch=1),
    train=settings_lib.Train(batch_size=batch_size),
  )


def never(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [64, 61, 5])
def test_hosts_read_disjoint_shares_that_cover_each_epoch(hosts, count):
  source, settings = Numbers(count), make_settings(8)
  steps = -(-2 * count // 8)
  shares = []
  for host in range(hosts):
    with pipeline.train_batches(
      settings, source, on_bad=never, process_index=host, process_count=hosts
    ) as batches:
      shares.append([next(batches)["index"] for _ in range(steps)])
  assert all(len(part) == 8 // hosts for share in shares for part in share)
  joined = np.concatenate(
    [np.concatenate(step) for step in zip(*shares, strict=True)]
  )
  for epoch in range(2):
    np.testing.assert_array_equal(
      np.sort(joined[epoch * count : (epoch + 1) * count]), np.arange(count)
    )


def test_resuming_far_into_a_run_does_no_work_for_what_is_past(monkeypatch):
  source, settings = Numbers(240_000), make_settings(64)
  work, feistel = [], sampling._feistel

  def counted(x, *args):
    work.append(np.size(x))
    return feistel(x, *args)

  monkeypatch.setattr(sampling, "_feistel", counted)
  counts = {}
  for first in (0, 400_000):
    work.clear()
    tried = []
    with pipeline.train_batches(
      settings,
      source,
      on_bad=never,
      on_tried=tried.append,
      start_step=first,
    ) as batches:
      next(batches)
    counts[first] = len(tried), sum(work)
  for read, shuffled in counts.values():
    # The batch, those read ahead, and at most two walks for each.
    assert 64 <= read <= 64 * 4 and read <= shuffled <= 2 * read
