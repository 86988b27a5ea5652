"""Who may import whom, and what works on a machine without TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "sigma_jax"
# What each part may import of the others. `settings` asks methods for their
# options, and methods ask interop for frozen weights: both late, in a function.
_PLAIN = {"errors", "files", "full_disk", "paths", "settings"}
_MODEL = {"keys", "precision", "masking", "models", "losses"}
_TRAINED = {*_PLAIN, *_MODEL, "methods", "train", "interop"}
ALLOWED = {
  "__init__": {"inference", "paths"},
  "__main__": {"cli"},
  # On top of all that trains and judges.
  "ablate": {
    *("errors", "files", "nearest", "paths", "settings", "cli", "methods"),
    *("train", "evaluate", "report", "suite", "tasks", "pieces"),
  },
  "augment": {"errors", "keys", "settings", "models"},
  "bench": {*_PLAIN, *_MODEL, "methods", "train", "evaluate", "cli"},
  "bench/data": {*_PLAIN, "bench", "data"},
  # Draws its own clips and judges what it has trained.
  "bench/evidence": {*_PLAIN, "bench", "data", "evaluate", "train"},
  "block_masks": {"errors", "keys"},
  "cli": {"errors", "full_disk"},
  "compile_cache": set(),
  "data": {*_PLAIN, "freeze", "cli", "pieces"},
  "demo": {"cli", "errors", "paths"},
  "distributed": {"errors", "files"},
  "errors": set(),
  "evaluate": {*_TRAINED, "inference", "cli"},
  "features": {"inference"},
  "files": {"errors", "full_disk"},
  "freeze": {"nearest"},
  "full_disk": set(),
  "inference": {*_TRAINED, "compile_cache", "data", "cli", "pieces"},
  "interop": {
    *(*_PLAIN, *_MODEL, "block_masks", "motion", "methods", "train", "cli"),
  },
  "keys": set(),
  "losses": {"errors", "precision"},
  "main": {*_PLAIN, "cli", "distributed", "nearest", "tasks", "train"},
  "masking": {"errors", "keys"},
  "methods": {
    *("errors", "freeze", "settings", *_MODEL, "block_masks", "motion"),
    "interop",
  },
  "models": {"errors", "keys", "precision", "settings", "masking"},
  "motion": {"errors", "keys", "masking"},
  "nearest": set(),
  "paths": {"errors"},
  "pieces": {"cli", "errors"},
  "precision": set(),
  "recipes": {"settings"},
  "report": {*_TRAINED, "compile_cache", "data", "evaluate", "cli"},
  "settings": {"cli", "errors", "freeze", "methods", "paths"},
  "suite": {*_TRAINED, "evaluate", "report", "tasks", "pieces"},
  "tasks": {
    *(*_TRAINED, "compile_cache", "data", "distributed", "evaluate"),
    "inference",
  },
  "train": {"errors", "files", "full_disk", "keys", "settings", "models"}
  | {"augment", "methods"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))

WITHOUT_TENSORFLOW = """
import importlib, pathlib, pkgutil, sys

# As where they are not installed: importing fails, looking finds nothing.
for name in ("tensorflow", "tensorflow_datasets"):
  sys.modules[name] = None
import sigma_jax
count, walked = 0, set()
for module in pkgutil.walk_packages(sigma_jax.__path__, "sigma_jax."):
  if module.ispkg:
    walked.add(module.name)  # which imports it
  if module.name.startswith(("sigma_jax.data", "sigma_jax.bench.data.")):
    continue
  if "__main__" in module.name:
    continue
  importlib.import_module(module.name)
  count += 1
imported = set(sys.modules) - walked
assert not any(name.startswith("sigma_jax.data.") for name in imported)
from sigma_jax.train import metrics
writer = metrics.Writer(sys.argv[1])
writer.write(1, {"loss": 1.0})
writer.close()
assert metrics.read(sys.argv[1]) == [{"step": 1, "loss": 1.0}]
print(count)
"""


def imported(path):
  """Top-level parts of sigma_jax that a file imports, anywhere in it."""
  tree = ast.parse(path.read_text())
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
      continue
    parts = [name.split(".") for name in names]
    found |= {p[1] for p in parts if p[0] == "sigma_jax" and len(p) > 1}
  return found


def external(path):
  """Top-level names of all imports of a file."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found.add(node.module.split(".")[0])
  return found


@pytest.mark.parametrize(
  "path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_a_module_imports_only_what_its_place_allows(path):
  place = path.relative_to(PACKAGE)
  part = place.parts[0].removesuffix(".py")
  if "/".join(place.parts[:2]) in ALLOWED:
    part = "/".join(place.parts[:2])
  assert imported(path) <= ALLOWED[part] | {part}
  if part != "data":
    assert not external(path) & {"tensorflow", "tensorflow_datasets"}


@pytest.mark.parametrize(
  "path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_only_methods_know_a_method_by_name(path):
  """All others go through the protocol."""
  if path.parent.name != "methods":
    lines = path.read_text().splitlines()
    found = [line for line in lines if "from sigma_jax.methods" in line]
    others = [
      x for x in found if " import method" not in x and ".method " not in x
    ]
    assert not others


def test_settings_load_without_jax():
  """So that a misspelt key is answered at once."""
  code = "import sys, sigma_jax.settings; sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_all_but_data_imports_and_logs_without_tensorflow(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) > 20
