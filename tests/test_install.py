"""The wheel: what is in it, and that it works in another folder."""

import email
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging import requirements

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
PIP = (sys.executable, "-m", "pip")
OFFLINE = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """Built from a copy: building leaves files beside the sources."""
  folder = tmp_path_factory.mktemp("wheel")
  tree = folder / "tree"
  skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
  for name in ("sigma_jax", "configs"):
    shutil.copytree(ROOT / name, tree / name, ignore=skip)
  for path in ("setup.py", "pyproject.toml", "README.md"):
    shutil.copy(ROOT / path, tree)
  for path in ROOT.glob("requirements*.txt"):
    shutil.copy(path, tree)
  build = [*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", str(folder)]
  subprocess.run([*build, str(tree)], check=True, timeout=120)
  (found,) = folder.glob("*.whl")
  return found


@pytest.fixture(scope="module")
def installed(wheel):
  """`installed(command...)`: run in another folder, with the wheel's code."""
  target = wheel.parent / "target"
  install = [*PIP, "install", *OFFLINE, "--target", str(target), str(wheel)]
  subprocess.run(install, check=True, timeout=120)
  elsewhere = wheel.parent / "elsewhere"
  elsewhere.mkdir()

  def run(*command):
    python = [sys.executable, *command]
    if command[0] == "sigma-jax":
      python[1] = str(target / "bin" / "sigma-jax")
    return subprocess.run(
      python,
      cwd=elsewhere,
      env=os.environ | {"PYTHONPATH": str(target)},
      capture_output=True,
      text=True,
      timeout=120,
    )

  run.target, run.folder = target, elsewhere
  return run


def pins(name):
  lines = (ROOT / name).read_text().splitlines()
  lines = [line.partition(" #")[0].strip() for line in lines]
  return {
    str(requirements.Requirement(line))
    for line in lines
    if line and not line.startswith("#")
  }


def test_metadata(wheel):
  with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
    data = email.message_from_bytes(archive.read(name))
  assert data["Name"] == "sigma-jax"
  assert data["Requires-Python"] == "<3.14,>=3.11"
  for field in ("Version", "Summary", "Author", "Keywords", "Project-URL"):
    assert data[field]
  assert "License" not in data  # the owner's to choose
  extras = {"cuda", "tpu", "cluster", "test"}
  assert set(data.get_all("Provides-Extra")) == extras
  asked = {extra: set() for extra in ("", *extras)}
  for line in data.get_all("Requires-Dist"):
    extra = re.search(r'(?:; | and )extra == "(\w+)"$', line)
    plain = line[: extra.start()] if extra else line
    asked[extra[1] if extra else ""].add(str(requirements.Requirement(plain)))
  assert asked["cluster"] < asked["test"]
  asked["test"] -= asked["cluster"]
  for extra, found in asked.items():
    assert found == pins(f"requirements{'-' if extra else ''}{extra}.txt")


def test_files(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())
  inside = {n for n in names if ".dist-info/" not in n}
  assert {n.partition("/")[0] for n in inside} == {"sigma_jax"}
  ours = (ROOT / "sigma_jax").rglob("*")
  expected = {str(p.relative_to(ROOT)) for p in ours if p.is_file()}
  expected |= {f"sigma_jax/{path.relative_to(ROOT)}" for path in CONFIGS}
  assert inside == {n for n in expected if not n.endswith(".pyc")}


LOADS = """
import json, sys
import sigma_jax
from sigma_jax.settings import config_file
assert "jax" not in sys.modules
names = json.loads(sys.argv[1])
found = {name: config_file.load(name).fingerprint() for name in names}
print(json.dumps([sigma_jax.__file__, found]))
"""


def test_configs_are_found_by_name(installed):
  from sigma_jax.settings import config_file

  variants = ["k400_vitb", "configs/k400_vitb.py:dino", "k400_vitb.py:dino"]
  paths = [
    str(path.relative_to(ROOT))
    for path in CONFIGS
    if path.parent.name != "ablations"  # grids of runs, not configs of one
  ]
  names = [path.split("/", 1)[1].removesuffix(".py") for path in paths]
  done = installed("-c", LOADS, json.dumps([*variants, *names, *paths]))
  assert done.returncode == 0, done.stderr
  file, found = json.loads(done.stdout)
  assert file.startswith(str(installed.target))
  for path, name in zip(paths, names, strict=True):
    own = config_file.load(ROOT / path).fingerprint()
    assert found[path] == found[name] == own
  assert found["k400_vitb"] == found["configs/k400_vitb.py"]
  dino = config_file.load(f"{ROOT}/configs/k400_vitb.py:dino").fingerprint()
  assert (
    found["k400_vitb.py:dino"] == found["configs/k400_vitb.py:dino"] == dino
  )
  assert dino != found["k400_vitb"]


def test_the_command(installed):
  done = installed("sigma-jax", "--help")
  assert (done.returncode, done.stderr) == (0, "")
  assert done.stdout.startswith("usage: sigma-jax COMMAND")
  version = installed("sigma-jax", "--version")
  (built,) = installed.target.parent.glob("*.whl")
  assert built.name.startswith(f"sigma_jax-{version.stdout.strip()}-")
  mistake = installed("sigma-jax", "train", "--config=k400_vitbb")
  assert mistake.returncode == 2
  assert mistake.stderr.splitlines() == [
    "error: no such config file: k400_vitbb; did you mean k400_vitb?"
  ]


def test_a_method_of_ones_own(installed):
  """As docs/METHODS.md has it, in the current folder; its data is not there."""
  page = (ROOT / "docs" / "METHODS.md").read_text()
  files = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
  for name, text in zip(("my_method", "my_config"), files, strict=True):
    (installed.folder / f"{name}.py").write_text(text)
  done = installed("sigma-jax", "train", "--config=my_config.py")
  assert done.returncode == 2, done.stderr
  assert done.stdout.startswith("workdir: runs/my_config ")
  (line,) = done.stderr.splitlines()
  assert "sigma_jax.data.toy --out=data/toy makes it" in line


def test_a_suite_finds_the_configs(installed):
  """All protocols, in a folder without configs/."""
  from sigma_jax.settings import config_file

  home = installed.target / "sigma_jax" / "configs"
  code = (
    "from sigma_jax.settings import config_file\n"
    "print(config_file.home())\n"
    "print(len(config_file.matching('configs/eval/*.py')))\n"
    "print(len(config_file.matching('nothing/*.py')))\n"
  )
  done = installed("-c", code)
  own = len(config_file.matching("configs/eval/*.py"))
  assert done.stdout.split() == [str(home), str(own), "0"]
  assert own > 30
