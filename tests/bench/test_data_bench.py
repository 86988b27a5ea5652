"""The benchmark of readers, run small."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

from sigma_jax.bench.data import cases, data_bench, inputs, rivals

ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
  *("data", "--turns=1", "--clips=2", "--videos=1"),
  *("--frames=64", "--width=128", "--height=96"),
)


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


def test_every_reader_reads_the_same_clips():
  code, out, err = bench(*SMALL, "--no-pipeline", "--json")
  assert code == 0, err
  result = json.loads(out)
  rows = {row["contender"]: row for row in result["rows"]}
  for videos in ("GOP 12", "GOP 250", "records", "frames", "tar"):
    row = rows[f"sigma_jax, {videos}"]
    assert row["clips_per_s"] >= row["median"] > 0
  absent = result["absent"] or {}
  assert absent.keys() <= rivals.MODULES.keys()
  for name in rivals.MODULES:
    for videos in ("GOP 12", "GOP 250"):
      assert (f"{name}, {videos}" in rows) != (name in absent)
  compared = [row["differs"] for row in rows.values() if row["differs"]]
  assert len(compared) >= 1 and max(compared) < 8
  assert 0 < rows["sigma_jax, frames"]["differs"] < 4
  assert rows["sigma_jax, tar"]["differs"] == 0  # the very same files
  slowest = rows["sigma_jax, GOP 250"]
  assert slowest["times_gop_250"] == 1 and slowest["differs"] == 0
  if len(os.sched_getaffinity(0)) > 1:
    assert result["two_processes_to_one"].keys() == data_bench.SOURCES.keys()


def test_the_pipeline_is_timed_by_the_clips_it_reads(tmp_path):
  options = {"videos": 2, "clips": 2, "frames": 64, "width": 96, "height": 80}
  options |= {"gops": [12], "records": False, "spoilt": 0, "manifest": None}
  inputs.make(str(tmp_path), options)
  case = cases.Pipeline(
    {"folder": str(tmp_path), "source": "gop12.txt", "workers": 1, "count": 8}
  )
  start = time.perf_counter()
  seconds = case.run()
  assert 0 < seconds < time.perf_counter() - start


def test_memory_is_watched_while_some_files_are_bad(tmp_path):
  plot = tmp_path / "memory.png"
  code, out, err = bench("data", "--memory=64", f"--plot={plot}", "--json")
  assert code == 0, err
  result = json.loads(out)
  last = result["rows"][-1]
  assert last["clips"] == 64 and last["bytes"] > 5e7 and last["bad_files"] == 3
  assert abs(result["mb_per_1000_clips"]) < 1e4
  with PIL.Image.open(plot) as image:
    shades = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    assert image.size == (600, 280) and len(shades) > 10


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("--turns=0",), "--turns must be positive"),
    (("--frames=60",), "--frames must be at least 61"),
    (("--width=95",), "--width and --height must be even"),
    (("--memory=0",), "--memory must be positive"),
    (("--plot=a.png",), "--plot draws memory: give --memory=CLIPS too"),
    (("--manifest=none.csv",), "none.csv"),
  ],
)
def test_wrong_input_is_answered_in_one_line(arguments, message):
  code, out, err = bench("data", *arguments)
  assert code == 2 and not out
  assert message in err
  assert err.startswith("error: ") and err.count("\n") == 1


def test_an_absent_library_is_named(monkeypatch):
  monkeypatch.setitem(rivals.MODULES, "decord", "no_such_module")
  assert data_bench.absence("decord") == "not installed"
  monkeypatch.setitem(rivals.MODULES, "decord", "no_such_module_either")
  monkeypatch.setattr(data_bench.importlib.util, "find_spec", lambda _: True)
  assert "does not load" in data_bench.absence("decord")


def test_lists_are_timed_each_in_a_process():
  code, out, err = bench("lists", "--lines=30", "--turns=1", "--json")
  assert code == 0, err
  found = json.loads(out)
  assert "30 lines" in found["title"]
  assert len(found["rows"]) == 6
  for row in found["rows"]:
    assert row["processor_s"] > 0 and row["peak_MB"] >= 0
  code, _, err = bench("lists", "--lines=0")
  assert code == 2 and "--lines must be positive" in err
