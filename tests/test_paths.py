"""`~` is the home folder wherever a path is typed; seeds out of range."""

import argparse
import ast
import pathlib
import subprocess
import sys

import pytest

from sigma_jax import errors, paths, settings
from sigma_jax import main as main_lib
from sigma_jax.data.toy import digits, sequences
from sigma_jax.train import workdir as workdir_lib

ROOT = pathlib.Path(__file__).parents[1]
# Arguments of all commands that are files or folders.
OPTIONS = {
  *("--out", "--manifest", "--root", "--init", "--workdir", "--config"),
  *("--configs", "--toy", "--tfds", "--images", "--devkit", "--val"),
  *("--data", "--val-solution", "--annotations", "--videos", "--plot"),
  *("workdir", "source", "out", "case", "manifest"),
}
# ... by these names, which stand for a number there.
COUNTS = {("data_bench", "--videos"), ("folder", "--val")}


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  return str(tmp_path / "home")


def test_a_tilde_is_the_home_folder(home, tmp_path, monkeypatch):
  assert paths.expand("~/runs/a") == f"{home}/runs/a"
  assert paths.expand("~") == home
  for path in ("", "a~", "gs://b/~/x", "./~/x", "/~"):
    assert paths.expand(path) == path
  with pytest.raises(errors.UserError, match=r"'~nobody-here/x'.*write ./~nob"):
    paths.expand("~nobody-here/x")
  with pytest.raises(argparse.ArgumentTypeError, match="nobody-here"):
    paths.argument("~nobody-here/x")
  monkeypatch.chdir(tmp_path)
  (tmp_path / "~list.csv").touch()
  assert paths.expand("~list.csv") == "~list.csv"


@pytest.mark.parametrize("key", settings.PATHS)
def test_paths_of_a_config(home, key):
  section, _, name = key.rpartition(".")
  tree = {section: {name: "~/x"}} if section else {name: "~/x"}
  found = settings.Settings.from_config(tree).to_dict()
  assert (found[section] if section else found)[name] == f"{home}/x"


def test_paths_of_the_command_line(home):
  pathlib.Path(home).mkdir()
  pathlib.Path(home, "c.py").touch()
  given = ["--config=~/c.py:mlp", "--workdir=~/w", "--config.seed=1", "~"]
  expected = [f"--config={home}/c.py:mlp", f"--workdir={home}/w", *given[2:]]
  assert main_lib._found(given) == expected
  apart = ["--config", "~/c.py:mlp", "--workdir", "~/w", *given[2:]]
  assert main_lib._found(apart) == expected


def test_every_command_takes_it():
  """All arguments by the names above, as the code declares them."""
  seen = 0
  for path in (ROOT / "sigma_jax").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if not isinstance(node, ast.Call) or not node.args:
        continue
      function = getattr(node.func, "attr", getattr(node.func, "id", ""))
      name = getattr(node.args[0], "value", None)
      if function not in ("add_argument", "add") or name not in OPTIONS:
        continue
      if (path.stem, name) not in COUNTS:
        types = [ast.unparse(k.value) for k in node.keywords if k.arg == "type"]
        assert types == ["paths.argument"], f"{path}: {name}"
        seen += 1
  assert seen > 30


def test_a_run_does_not_make_a_folder_of_that_name(home, tmp_path):
  folder = pathlib.Path(home, "runs", "a")
  folder.mkdir(parents=True)  # one that a refused run makes goes with it
  done = subprocess.run(
    [
      *(sys.executable, "-m", "sigma_jax.main", "--workdir=~/runs/a"),
      *(f"--config={ROOT}/configs/toy.py", "--config.data.train=~/no.csv"),
    ],
    cwd=tmp_path,
    env={"HOME": home, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2, done.stderr
  assert f"{home}/no.csv" in done.stderr and "Traceback" not in done.stderr
  assert not (tmp_path / "~").exists()
  assert [file.name for file in folder.glob("*.txt")] == ["traceback.txt"]


@pytest.mark.parametrize("seed", [-1, 1 << 32, 99999999999999999999])
def test_seeds_out_of_range_are_named(seed, tmp_path, capsys):
  with pytest.raises(ValueError, match=rf"seed must lie in 0 .*, got {seed}"):
    settings.Settings.from_config({"seed": seed})
  out = str(tmp_path / "toy")
  for command in (digits.main, sequences.main):
    assert command([f"--out={out}", f"--seed={seed}"]) == 2
    assert (
      "error: --seed must lie in 0 .. 4294967295" in capsys.readouterr().err
    )
  assert not (tmp_path / "toy").exists()


def test_the_largest_seed_runs(tiny, change):
  import jax
  import numpy as np

  from sigma_jax.data import sampling

  config = change(tiny, seed=(1 << 32) - 1)
  key = jax.random.key_data(jax.random.key(config.seed))
  assert int(key[1]) == (1 << 32) - 1
  drawn = sampling.shuffled_index(config.seed, 0, np.arange(9), 9)
  assert sorted(drawn.tolist()) == list(range(9))
  np.random.default_rng(config.seed)


@pytest.mark.parametrize("seed", [-1, (1 << 40) + 3])
def test_runs_of_before_seeds_had_a_range_are_read(tiny, tmp_path, seed):
  """Their weights were drawn with the seed's lowest 32 bits."""
  import json

  stored = tiny.to_dict() | {"seed": seed}
  (tmp_path / workdir_lib.CONFIG).write_text(json.dumps(stored))
  assert workdir_lib.read_config(tmp_path).seed == seed % (1 << 32)
