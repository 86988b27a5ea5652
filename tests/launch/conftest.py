"""Launchers with stand-ins for gcloud, kubectl, SLURM and nvidia-smi.

The stand-ins write down how they were called, one JSON list a line, so that
quoting is seen; no cloud, cluster or GPU is asked for anything.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Answers by its own name from FAKE_<NAME>_OUT, several answers with | between
# them one a call, and FAKE_<NAME>_CODE.
STAND_IN = """#!{python}
import json, os, sys
name, log = os.path.basename(sys.argv[0]), os.environ["FAKE_LOG"]
with open(log, "a") as file:
  file.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
if name == "kubectl":
  open(log + ".stdin", "w").write(sys.stdin.read())
variable = "FAKE_" + name.upper().replace("-", "_")
answers = os.environ.get(variable + "_OUT", "").split("|")
calls = [json.loads(line)[0] for line in open(log)].count(name)
print(answers[min(calls, len(answers)) - 1])
sys.exit(int(os.environ.get(variable + "_CODE", "0")))
"""

# An environment's Python: notes its arguments, and `-c` may fail.
PYTHON = """#!/bin/sh
echo "$*" >> "$FAKE_LOG.python"
[ "$1" != -c ] || exit "${FAKE_NO_GPU:-0}"
"""


@dataclasses.dataclass
class Cluster:
  """A copy of the launchers, and a PATH with stand-ins in front."""

  root: pathlib.Path
  bin: pathlib.Path
  log: pathlib.Path

  def add(self, name, text=STAND_IN):
    path = self.bin / name
    path.write_text(text.replace("{python}", sys.executable))
    path.chmod(0o755)
    return path

  def add_environment(self):
    python = self.root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (self.root / "launch" / "setup.sh").write_text("echo setup $1\n")

  def environment(self, **more):
    return {
      "PATH": f"{self.bin}:{os.environ['PATH']}",
      "HOME": str(self.root),
      "FAKE_LOG": str(self.log),
      **more,
    }

  def run(self, script, *arguments, **environment):
    return subprocess.run(
      ["bash", str(self.root / "launch" / script), *arguments],
      env=self.environment(**environment),
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=60,
    )

  def output(self, script, *arguments, **environment):
    """What a run that succeeds prints."""
    result = self.run(script, *arguments, **environment)
    assert result.returncode == 0, result
    return result.stdout

  def refusal(self, script, *arguments, **environment):
    """The one line on stderr of a run that is refused."""
    result = self.run(script, *arguments, **environment)
    assert result.returncode == 2, result
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result
    assert ": error: " in lines[0]
    return lines[0]

  @property
  def calls(self):
    if not self.log.exists():
      return []
    return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path):
  root = tmp_path / "a checkout"  # the space is on purpose
  shutil.copytree(ROOT / "launch", root / "launch")
  (tmp_path / "bin").mkdir()
  made = Cluster(root, tmp_path / "bin", tmp_path / "log")
  for name in ("gcloud", "kubectl", "sbatch", "srun", "scancel", "scontrol"):
    made.add(name)
  made.add("nvidia-smi")
  return made


@pytest.fixture(scope="session")
def awkward():
  """What a command line may hold, and no shell on the way may change."""
  return ["--config=a b.py", "--x=$HOME", "--y=\"q\" 'r'", "--z=a;b&c\\", "*"]
