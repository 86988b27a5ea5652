"""The launch scripts, run in a copy of the tree with a stand-in for Python.

The stand-in answers the version probe, makes a `.venv` that holds only itself
and writes down each call of pip, so nothing is downloaded or installed.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest
from packaging import requirements

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = [
  *sorted((ROOT / "launch").glob("*.sh")),
  ROOT / "launch" / "slurm.sbatch",
  ROOT / ".ci" / "run",
]
SOURCED = ("acting", "ray")  # by the others
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))
# These add an extra to a pin of requirements.txt.
EXTRAS = [ROOT / f"requirements-{name}.txt" for name in ("cuda", "tpu")]
PINS = [path for path in REQUIREMENTS if path not in EXTRAS]

# FAKE_* are set by the tests. `-c` runs for real, under a false version.
FAKE_PYTHON = r"""#!/bin/sh
echo "$*" | head -n 1 >> "$FAKE_LOG"
case "$1 $2" in
  -c*)
    FAKE_SELF="$0" exec "$FAKE_REAL" -c '
import os, sys
version = [int(x) for x in os.environ["FAKE_VERSION"].split(".")]
sys.version_info = (*version, "final", 0)
sys._base_executable = sys.executable = os.environ["FAKE_SELF"]
if os.environ.get("FAKE_NO_VENV"): sys.modules["ensurepip"] = None
exec(sys.argv[1])
' "$2" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip")
    sleep "${FAKE_SLEEP:-0}"
    left=$(cat "$FAKE_FAILURES" 2>/dev/null || echo 0)
    if [ "$left" -gt 0 ]; then
      echo $((left - 1)) > "$FAKE_FAILURES"
      echo "ERROR: no route to the index"
      exit 1
    fi ;;
  *) echo "ran $*" ;;
esac
"""


@dataclasses.dataclass
class Checkout:
  """A copy of the launch scripts and pins, and a stand-in for Python."""

  root: pathlib.Path
  python: pathlib.Path
  log: pathlib.Path
  failures: pathlib.Path

  @property
  def stamp(self):
    return self.root / ".venv" / "setup.stamp"

  def environment(self, version="3.11.7", **more):
    environment = {
      "PATH": os.environ["PATH"],
      "PYTHON": str(self.python),
      "FAKE_REAL": sys.executable,
      "FAKE_LOG": str(self.log),
      "FAKE_FAILURES": str(self.failures),
      "FAKE_VERSION": version,
      **more,
    }
    return {k: v for k, v in environment.items() if v is not None}

  def run(self, script, *arguments, **environment):
    return subprocess.run(
      ["bash", str(self.root / "launch" / script), *arguments],
      env=self.environment(**environment),
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=60,
    )

  def setup(self, *arguments, **environment):
    return self.run("setup.sh", *arguments, **environment)

  def calls(self, start):
    """The stand-in's calls that begin with `start`, oldest first."""
    lines = self.log.read_text().splitlines() if self.log.exists() else []
    return [line for line in lines if line.startswith(start)]

  @property
  def installs(self):
    return self.calls("-m pip install")


@pytest.fixture
def checkout(tmp_path):
  root = tmp_path / "a checkout"  # the space is on purpose
  shutil.copytree(ROOT / "launch", root / "launch")
  for path in REQUIREMENTS:
    shutil.copy(path, root)
  python = tmp_path / "bin" / "python-stand-in"
  python.parent.mkdir()
  python.write_text(FAKE_PYTHON)
  python.chmod(0o755)
  return Checkout(root, python, tmp_path / "log", tmp_path / "failures")


def the_only_line(result):
  """What a refusal printed: one line on stderr, nothing else."""
  assert result.returncode != 0, result
  assert result.stdout == "", result
  lines = result.stderr.splitlines()
  assert len(lines) == 1, result
  assert lines[0].startswith("setup: error: "), result
  return lines[0]


def succeeded(result):
  assert result.returncode == 0, result
  return result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_parses(script):
  result = subprocess.run(
    ["bash", "-n", str(script)], capture_output=True, text=True
  )
  assert (result.returncode, result.stderr) == (0, "")


def heading(script):
  """The comment at a script's head."""
  lines = script.read_text().splitlines()[1:]
  end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
  lines = [x for x in lines[:end] if not x.startswith("#SBATCH")]
  return "".join(x.removeprefix("#").removeprefix(" ") + "\n" for x in lines)


@pytest.mark.parametrize(
  "script",
  [x for x in SCRIPTS if x.parent.name == "launch" and x.stem not in SOURCED],
  ids=lambda path: path.name,
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_helps_and_does_nothing_else(checkout, script, flag):
  before = sorted(checkout.root.rglob("*"))
  out = succeeded(checkout.run(script.name, flag))
  assert out == heading(script)
  assert len(out.splitlines()) > 3 and script.name in out
  assert not checkout.log.exists()  # no Python was called
  assert sorted(checkout.root.rglob("*")) == before


def test_scripts_pass_shellcheck():
  beside = pathlib.Path(sys.executable).parent / "shellcheck"
  shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
  if not shellcheck:
    pytest.skip("shellcheck is not installed")
  result = subprocess.run(
    [shellcheck, "--shell=bash", *map(str, SCRIPTS)],
    capture_output=True,
    text=True,
  )
  assert result.returncode == 0, result.stdout + result.stderr


def test_ci_script_is_executable():
  assert os.access(ROOT / ".ci" / "run", os.X_OK)


def pins(path):
  """The lines of a requirements file, without comments."""
  lines = path.read_text().splitlines()
  lines = [line.partition("#")[0].strip() for line in lines]
  return [line for line in lines if line]


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_requirements_are_exact_pins(path):
  lines = pins(path)
  assert lines
  pin = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*( *; *\S.*)?")
  assert [line for line in lines if not pin.fullmatch(line)] == []


@pytest.mark.parametrize("minor", [11, 12, 13])
@pytest.mark.parametrize(
  "machine",
  [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")],
  ids="-".join,
)
def test_each_platform_gets_one_pin_of_each_package(minor, machine):
  platform, processor = machine
  environment = {
    "python_version": f"3.{minor}",
    "python_full_version": f"3.{minor}.0",
    "sys_platform": platform,
    "platform_machine": processor,
  }
  names = []
  for path in PINS:
    for line in pins(path):
      requirement = requirements.Requirement(line)
      marker = requirement.marker
      if marker is None or marker.evaluate(environment):
        names.append(requirement.name.lower())
  assert sorted(names) == sorted(set(names))
  assert {"jax", "flax", "numpy", "scipy"} <= set(names)
  on_x86_linux = machine == ("linux", "x86_64")
  assert ("tensorflow-cpu" in names) == on_x86_linux
  assert ("tensorflow" in names) == (not on_x86_linux)


def test_unknown_variant_is_refused(checkout):
  line = the_only_line(checkout.setup("gpu"))
  assert "'gpu'" in line
  assert "cpu|cuda|tpu" in line
  assert not (checkout.root / ".venv").exists()


def test_two_variants_are_refused(checkout):
  assert "cpu and tpu" in the_only_line(checkout.setup("cpu", "tpu"))


@pytest.mark.parametrize(
  "version, word",
  [("2.7.18", "old"), ("3.6.15", "old"), ("3.10.13", "old"), ("3.14.0", "new")],
)
def test_unsupported_python_is_refused(checkout, version, word):
  line = the_only_line(checkout.setup("cpu", version=version))
  assert f"is Python {version}, too {word}" in line
  assert "install Python 3.11 to 3.13" in line
  assert not (checkout.root / ".venv").exists()


def test_python_without_venv_is_refused(checkout):
  line = the_only_line(checkout.setup("cpu", FAKE_NO_VENV="1"))
  assert "has no venv or pip" in line
  assert "python3-venv" in line


@pytest.mark.parametrize("python", ["/nowhere/python", "false"])
def test_python_that_does_not_run_is_refused(checkout, python):
  line = the_only_line(checkout.setup("cpu", PYTHON=python))
  assert f"PYTHON={python} does not run" in line


def path_with(checkout, **stubs):
  """A PATH on which the only Pythons are the given scripts."""
  tools = checkout.python.parent / "tools"
  tools.mkdir()
  for tool in (
    *("bash", "sh", "cat", "cp", "cut", "dirname", "flock", "grep", "head"),
    *("mkdir", "mv", "rm", "sed", "sha256sum", "shasum", "sleep", "tail"),
    "tee",
  ):
    if found := shutil.which(tool):
      (tools / tool).symlink_to(found)
  for name, text in stubs.items():
    stub = tools / name.replace("_", ".")
    stub.write_text(text)
    stub.chmod(0o755)
  return str(tools)


# As pyenv's shims do for a version that is there but not selected.
BROKEN_SHIM = """#!/bin/sh
echo "pyenv: python3.12: command not found" >&2
exit 127
"""


def test_shim_that_does_not_run_is_passed_over(checkout):
  path = path_with(checkout, python3_12=BROKEN_SHIM, python3_11=FAKE_PYTHON)
  out = succeeded(checkout.setup(PATH=path, PYTHON=None))
  assert "for cpu with Python 3.11.7" in out
  assert checkout.stamp.exists()


def test_no_suitable_python_is_one_line(checkout):
  path = path_with(checkout, python3_12=BROKEN_SHIM, python3=FAKE_PYTHON)
  line = the_only_line(checkout.setup(PATH=path, PYTHON=None, version="3.9.2"))
  assert "no Python 3.11 to 3.13 found (on PATH: python3=3.9.2)" in line
  assert "set PYTHON" in line


def test_fresh_environment_then_reuse(checkout):
  out = succeeded(checkout.setup("cpu"))
  assert re.search(r"cpu environment is ready in \d+ s", out)
  (install,) = checkout.installs
  assert "requirements.txt" in install
  assert "requirements-" not in install

  start = time.monotonic()
  out = succeeded(checkout.setup("cpu"))
  assert time.monotonic() - start < 2
  assert "cpu environment is up to date" in out
  # No argument, no PYTHON: what is there is kept.
  assert "up to date" in succeeded(checkout.setup(PYTHON=None))
  assert len(checkout.installs) == 1
  assert len(checkout.calls("-m venv")) == 1


@pytest.mark.parametrize(
  "variant, extra", [("cuda", "jax[cuda13]"), ("tpu", "jax[tpu]")]
)
def test_variant_installs_its_jax_and_is_kept(checkout, variant, extra):
  assert pins(ROOT / f"requirements-{variant}.txt") == [extra]
  succeeded(checkout.setup(variant))
  assert f"/requirements-{variant}.txt" in checkout.installs[-1]
  assert "requirements.txt" in checkout.installs[-1]
  assert f"{variant} environment is up to date" in succeeded(checkout.setup())
  assert "for cpu" in succeeded(checkout.setup("cpu"))
  assert f"requirements-{variant}" not in checkout.installs[-1]


def test_test_requirements_are_added_without_a_rebuild(checkout):
  succeeded(checkout.setup("cpu"))
  assert "adding the test requirements" in succeeded(checkout.setup("--test"))
  assert "requirements-test.txt" in checkout.installs[-1]
  assert "up to date" in succeeded(checkout.setup("cpu", "--test"))
  assert "up to date" in succeeded(checkout.setup("cpu"))
  assert len(checkout.calls("-m venv")) == 1
  # Changed test requirements concern only who asks for them.
  with (checkout.root / "requirements-test.txt").open("a") as file:
    file.write("timm==1.0.0\n")
  assert "up to date" in succeeded(checkout.setup("cpu"))
  assert "adding" in succeeded(checkout.setup("cpu", "--test"))
  assert len(checkout.calls("-m venv")) == 1


def drop_stamp(checkout):
  checkout.stamp.unlink()


def break_python(checkout):
  python = checkout.root / ".venv" / "bin" / "python"
  python.unlink()
  python.symlink_to("/nowhere/python")


def change_requirements(checkout):
  with (checkout.root / "requirements.txt").open("a") as file:
    file.write("timm==1.0.0\n")


@pytest.mark.parametrize(
  "change", [drop_stamp, break_python, change_requirements]
)
def test_environment_that_does_not_fit_is_rebuilt(checkout, change):
  succeeded(checkout.setup("cpu"))
  left_over = checkout.root / ".venv" / "left-over"
  left_over.touch()
  change(checkout)
  assert "is ready" in succeeded(checkout.setup("cpu"))
  assert not left_over.exists()
  assert len(checkout.installs) == 2
  assert "up to date" in succeeded(checkout.setup("cpu"))


def test_other_python_rebuilds(checkout):
  succeeded(checkout.setup("cpu"))
  # The version of the stand-in in .venv changes too: the stamp must tell.
  out = succeeded(checkout.setup("cpu", version="3.12.1"))
  assert "with Python 3.12.1" in out
  assert len(checkout.calls("-m venv")) == 2


def test_moved_checkout_rebuilds(checkout):
  succeeded(checkout.setup("cpu"))
  moved = checkout.root.with_name("moved")
  checkout.root.rename(moved)
  checkout.root = moved
  assert "is ready" in succeeded(checkout.setup("cpu"))


def test_pip_is_tried_twice(checkout):
  checkout.failures.write_text("1")
  out = succeeded(checkout.setup("cpu"))
  assert "trying once more" in out
  assert len(checkout.installs) == 2


def test_failed_install_is_told_and_not_reused(checkout):
  checkout.failures.write_text("2")
  result = checkout.setup("cpu")
  assert result.returncode != 0
  assert "no route to the index" in result.stderr
  assert "pip could not install" in result.stderr.splitlines()[-1]
  assert not checkout.stamp.exists()
  assert "is ready" in succeeded(checkout.setup("cpu"))


@pytest.mark.skipif(not shutil.which("flock"), reason="flock is not there")
def test_two_at_once_install_once(checkout):
  command = ["bash", str(checkout.root / "launch" / "setup.sh"), "cpu"]
  both = [
    subprocess.Popen(
      command,
      env=checkout.environment(FAKE_SLEEP="0.5"),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      text=True,
    )
    for _ in range(2)
  ]
  outs = sorted(process.communicate(timeout=60)[0] for process in both)
  assert [process.returncode for process in both] == [0, 0]
  assert len(checkout.installs) == 1
  assert sum("is ready" in out for out in outs) == 1
  assert sum("waiting" in out and "up to date" in out for out in outs) == 1


def test_demo_sets_up_and_hands_over(checkout, tmp_path):
  data, workdir = tmp_path / "the data", tmp_path / "the run"
  out = succeeded(
    checkout.run(
      *("demo.sh", "--config.steps=3"), DATA=str(data), WORKDIR=str(workdir)
    )
  )
  assert checkout.calls("-m sigma_jax") == [
    f"-m sigma_jax demo --data {data} --workdir {workdir} --config.steps=3"
  ]
  assert re.search(r"^== setup: \d+ s$", out, re.MULTILINE)


def test_demo_defaults_lie_in_the_checkout(checkout):
  succeeded(checkout.run("demo.sh"))
  root = checkout.root
  assert checkout.calls("-m sigma_jax") == [
    f"-m sigma_jax demo --data {root}/data/toy --workdir {root}/runs/toy"
  ]


def test_test_script_passes_arguments_to_pytest_last(checkout):
  out = succeeded(checkout.run("test.sh", "-k", "mask"))
  assert out.splitlines()[-1] == (
    "ran -m pytest -n auto --dist loadfile --no-loadscope-reorder -k mask"
  )
  assert "requirements-test.txt" in checkout.installs[-1]
  assert checkout.calls("-m ruff") == [
    "-m ruff check .",
    "-m ruff format --check .",
  ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize(
  "path, ignored",
  [
    (".venv/bin/python", True),
    ("data/toy/train.tfrecord", True),
    ("runs/toy/report.html", True),
    ("notebooks/.ipynb_checkpoints/a.ipynb", True),
    ("sigma_jax/data/toy/digits.py", False),
    ("sigma_jax/report/__main__.py", False),
  ],
)
def test_git_ignores_results_but_not_code(path, ignored):
  if not shutil.which("git"):
    pytest.skip("git is not installed")
  result = subprocess.run(
    ["git", "check-ignore", "--no-index", "-q", path], check=False, cwd=ROOT
  )
  assert result.returncode == (0 if ignored else 1)
