"""The page's commands on mixtures and long videos, run as they stand."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "YOUR_DATA.md"


def commands() -> list[list[str]]:
  text = PAGE.read_text()
  text = text[text.index("## Mixtures") :]
  blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
  return [shlex.split(block.replace("\\\n", " ")) for block in blocks[:2]]


def call(command, folder) -> str:
  assert command[:2] == ["python", "-m"]
  done = subprocess.run(
    [sys.executable, *command[1:]],
    cwd=folder,
    env=os.environ
    | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    capture_output=True,
    text=True,
    timeout=240,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def test_a_mixture_and_its_features_over_time(toy_clips, toy_command, tmp_path):
  for name, split in (("many", "train"), ("few", "val"), ("long", "val")):
    lines = (toy_clips / f"{split}.csv").read_text().splitlines()
    lines = [f"{toy_clips}/{line}\n" for line in lines]
    (tmp_path / f"{name}.csv").write_text("".join(lines))
  train, features = commands()
  small = [flag for flag in toy_command("w") if flag.startswith("--config.")]
  small = [flag for flag in small if not flag.startswith("--config.data.train")]
  small += ["--config.train.steps=3", "--config.train.log_every=1"]
  said = call([*train, *small], tmp_path)
  line = re.search(r"^  (set many: .*)$", PAGE.read_text(), re.MULTILINE)[1]
  assert line in said
  last = (tmp_path / "runs/mix/metrics.jsonl").read_text().splitlines()[-1]
  assert json.loads(last)["epochs/many"] == 3 * 3 / 40
  assert "12 videos over time" in call(features, tmp_path)
  paths = sorted((tmp_path / "over_time").glob("*.npz"))
  assert len(paths) == 12
  with np.load(paths[0]) as arrays:
    assert arrays["features"].shape == (len(arrays["start"]), 16)
    assert set(arrays) == {"features", "start", "end", "path", "label"}
