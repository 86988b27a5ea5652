"""All figures of a card by one command, on a machine that has only JAX."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import ml_collections
import pytest

from sigma_jax import errors
from sigma_jax.bench import contest
from sigma_jax.bench.evidence import command
from sigma_jax.bench.evidence import parts as parts_lib

ROOT = pathlib.Path(__file__).parents[2]
# What such a machine lacks; ml_collections comes as a wheel.
BARE = """
import sys
from importlib import machinery

class Finder:
  find_distributions = machinery.PathFinder.find_distributions

  @staticmethod
  def find_spec(name, path=None, target=None):
    top = name.split(".")[0]
    carried = any(place.endswith(".whl") for place in sys.path)
    if top in ("tensorflow", "tensorflow_datasets", "av", "clu") or (
      top == "ml_collections" and not carried
    ):
      return None
    return machinery.PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(machinery.PathFinder)] = Finder
"""


def evidence(*arguments, path, timeout=900):
  return subprocess.run(
    [sys.executable, "-m", "sigma_jax.bench", "evidence", *arguments],
    cwd=ROOT,
    env=os.environ
    | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(path)},
    capture_output=True,
    text=True,
    timeout=timeout,
  )


@pytest.fixture(name="bare")
def bare_fixture(tmp_path):
  """Folders and files for PYTHONPATH: nothing else may be imported."""
  (tmp_path / "bare").mkdir()
  (tmp_path / "bare" / "sitecustomize.py").write_text(BARE)
  wheel = tmp_path / "ml_collections-0-py3-none-any.whl"
  package = pathlib.Path(ml_collections.__file__).parent
  with zipfile.ZipFile(wheel, "w") as out:
    for file in package.rglob("*.py"):
      out.write(file, file.relative_to(package.parent))
  return [str(tmp_path / "bare"), str(wheel)]


def test_it_runs_on_a_bare_machine(bare, tmp_path):
  """A wheel on PYTHONPATH is all that has to be carried there."""
  parts = ["attention", "step, fine"]
  out = tmp_path / "out"
  done = evidence("--tiny", f"--out={out}", "--only", *parts, path=bare)
  assert done.returncode == 0, done.stdout + done.stderr
  found = json.loads((out / "evidence.json").read_text())
  assert found["machine"]["platform"] == "cpu"
  assert found["machine"]["versions"]["jax"]
  attention, step = found["parts"].values()
  ways = {row["attention"]: row for row in attention["result"]["rows"]}
  assert ways["chosen"]["differs"] == 0 and ways["tiled"]["differs"] < 0.02
  assert "cuDNN" in ways["cuDNN"]["reason"]
  matmul, ours = step["result"]["rows"]
  assert matmul["contender"] == "matmul" and ours["clips_per_s"] > 0
  assert step["result"]["contenders"]["sigma_jax"]["compile_s"] > 0
  page = (out / "evidence.md").read_text()
  assert "| chosen |" in page and "| sigma_jax |" in page
  without = evidence("--tiny", f"--out={out}", path=bare[:1])
  assert "ml_collections" in without.stderr


def test_a_part_that_hangs_costs_no_other(tmp_path, monkeypatch, capsys):
  """With all that it has started; what was reached before is kept."""
  flag = tmp_path / "child"
  code = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, "
    f"'-c', 'import time; time.sleep(600)']); open({str(flag)!r}, 'w').write("
    "str(child.pid)); time.sleep(600)"
  )
  commands = {
    "hangs": [sys.executable, "-c", code],
    "fails": [sys.executable, "-c", "raise SystemExit('no such card')"],
    "works": [
      sys.executable,
      "-c",
      'print(\'{"title": "t", "rows": [{"a": 1, "b": null}]}\')',
    ],
  }
  monkeypatch.setattr(
    parts_lib,
    "tiny",
    lambda: tuple(
      parts_lib.Part(name, (name,), 15.0, "an aim") for name in commands
    ),
  )
  run = command._run

  def of_part(argv, seconds, environment):
    name = next((a for a in argv if a in commands), None)
    return run(commands.get(name, argv), seconds, environment)

  monkeypatch.setattr(command, "_run", of_part)
  args = type(
    "Args", (), {"seconds": 300.0, "tiny": True, "only": None, "out": tmp_path}
  )
  assert command.run(args) == 1
  parts = json.loads((tmp_path / "evidence.json").read_text())["parts"]
  assert parts["hangs"]["reason"] == "ended after its 15 s"
  assert parts["fails"]["reason"] == "no such card"
  assert parts["works"]["state"] == "done"
  page = (tmp_path / "evidence.md").read_text()
  assert "**failed**: no such card" in page and "| a |\n| --- |\n| 1 |" in page
  status = pathlib.Path(f"/proc/{flag.read_text()}/status")
  assert not status.exists() or "Z (zombie)" in status.read_text()
  args.seconds = 5.0
  assert command.run(args) == 1
  parts = json.loads((tmp_path / "evidence.json").read_text())["parts"]
  assert {part["state"] for part in parts.values()} == {"not reached"}


def test_parts_are_named_and_their_commands_known(capsys):
  from sigma_jax.bench import __main__ as bench

  for parts in (parts_lib.full(), parts_lib.tiny()):
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
      name, *flags = part.arguments
      with pytest.raises(SystemExit) as ended:
        bench.main([name, "--json", *flags, "--help"])
      assert ended.value.code == 0
  assert bench.main(["evidence", "--out=x", "--only", "nothing"]) == 2
  assert "the parts are attention" in capsys.readouterr().err


def test_a_contender_that_fails_leaves_the_others(tmp_path):
  sizes = {"size": 8, "dtype": "float32"}
  contenders = {
    "one": ("matmul_jax", sizes),
    "two": ("matmul_jax", {"size": 8, "dtype": "no such"}),
  }
  failed = {}
  found = contest.hold(contenders, 2, str(tmp_path), failed)
  assert found.keys() == {"one"} and len(found["one"].seconds) == 2
  assert "two failed" in failed["two"] and "no such" in failed["two"]
  with pytest.raises(errors.UserError, match="two failed"):
    contest.need(found, ("two",), failed)
  with pytest.raises(errors.UserError, match="two failed"):
    contest.hold(contenders, 1, str(tmp_path))
