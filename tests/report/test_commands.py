"""The commands that a page prints are run as they stand."""

import html
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from sigma_jax.report import commands, gather, sections
from sigma_jax.report.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def own_clips(toy_clips, tmp_path):
  """A folder of manifests, away from the clips, of two classes of its own."""
  folder = tmp_path / "my clips"
  folder.mkdir()
  for split, count in (("train", 10), ("val", 4)):
    lines = (toy_clips / f"{split}.csv").read_text().splitlines()[:count]
    rows = [f"{x.split()[0]} {i % 2}\n" for i, x in enumerate(lines)]
    (folder / f"{split}.csv").write_text("".join(rows))
  return folder


def test_the_command_for_probes_runs(
  toy_clips, own_clips, tmp_path, tiny_config, write_run
):
  """On somebody's own clips, by a run of configs/toy.py.

  The toy labels that the run's config names are not those of these clips.
  """
  changes = {
    "data.train": str(own_clips / "train.csv"),
    "data.root": str(toy_clips),
    "data.label_sets": str(toy_clips / "label_sets.json"),
  }
  run = tmp_path / "run"
  run.mkdir()
  write_run(run, tiny_config(own_clips, **changes), params=True)
  (found,) = re.findall(r"<pre>(.*?)</pre>", sections.probe(gather.load(run)))
  words = shlex.split(html.unescape(found))
  assert words[0] == "python"
  done = subprocess.run(
    [sys.executable, *words[1:]],
    cwd=ROOT,
    env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    capture_output=True,
    text=True,
    timeout=240,
  )
  assert done.returncode == 0, done.stderr
  rows = json.loads((run / "probe" / "results.json").read_text())["rows"]
  assert {row["label_set"] for row in rows} == {"label"}
  assert {row["num_test"] for row in rows} == {4}
  assert "<pre>" not in sections.probe(gather.load(run))


def test_label_sets_that_are_the_data_s_are_kept(
  toy_clips, tmp_path, tiny_config, write_run
):
  changes = {
    "data.train": str(toy_clips / "train.csv"),
    "data.label_sets": str(toy_clips / "label_sets.json"),
  }
  write_run(tmp_path, tiny_config(toy_clips, **changes))
  command = commands.probe(gather.load(tmp_path))
  assert f"--config.data.label_sets={toy_clips}/label_sets.json" in command
  assert "data.root" not in command


def test_without_test_clips_the_page_says_so(tmp_path, tiny_config, write_run):
  settings = tiny_config("/gone", **{"data.val": "", "data.train": "/t.csv"})
  write_run(tmp_path, settings)
  assert main([str(tmp_path)]) == 0
  page = (tmp_path / "report.html").read_text()
  assert "labelled test clips in the place of VAL.csv:" in page
  assert "--config.data.train=/t.csv --config.data.val=VAL.csv</pre>" in page
