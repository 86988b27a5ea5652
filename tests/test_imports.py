"""Who may import whom, and what works on a machine without TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "sigma_jax"
# Parts that may import only these; others may import anything but data.
ALLOWED = {
  "errors": set(),
  "keys": set(),
  "precision": set(),
  "masking": {"errors", "keys"},
  "losses": {"errors", "precision", "losses"},
  "files": {"errors"},
  "models": {
    *("errors", "keys", "precision", "settings", "masking", "models"),
  },
  "data": {"errors", "files", "freeze", "paths", "settings", "data"},
  "augment": {"errors", "keys", "settings", "models", "augment"},
  # Late and by one function: whoever has frozen weights asks interop for them.
  "methods": {
    *("errors", "keys", "precision", "settings", "masking", "models"),
    *("losses", "interop", "methods"),
  },
  "train": {
    *("errors", "files", "keys", "settings", "models", "methods", "augment"),
    "train",
  },
}
# They read videos too.
WIRING = {"main", "tasks", "inference", "report"}
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
  if module.name.startswith("sigma_jax.data") or "__main__" in module.name:
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
  part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
  if part in ALLOWED:
    assert imported(path) <= ALLOWED[part]
  elif part not in WIRING and path.parent != PACKAGE / "bench" / "data":
    assert "data" not in imported(path)
  if part != "data":
    assert not external(path) & {"tensorflow", "tensorflow_datasets"}


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
