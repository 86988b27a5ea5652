"""What all tests share: strict JAX on 8 simulated devices, tiny settings."""

import atexit
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import zlib

import jax
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib

# Before any device is touched. Eight devices show what one would hide; strict
# promotion shows where a dtype is left to chance.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Set for a second run of some tests, as users' programs are compiled. Most
# programs here compile for seconds and run for milliseconds. The subprocesses
# of test_kill.py are always compiled as users' runs are.
_OPTIMISED = bool(os.environ.get("SIGMA_JAX_TEST_OPTIMISED"))
jax.config.update("jax_disable_most_optimizations", not _OPTIMISED)


# XLA's older way to write CPU code compiles in half the time. It is for this
# process and for programs that take the variable below (train/hosts.py); the
# others are compiled as users' are.
_FAST_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false"
_FLAGS = "SIGMA_JAX_TEST_FLAGS"


def _compile_fast() -> None:
  """Starts XLA with the flag, if it knows it: an unknown one ends a process."""
  before = os.environ.get("XLA_FLAGS")
  wanted = f"{before or ''} {_FAST_TO_COMPILE}".strip()
  if _FLAGS not in os.environ:  # else this is a worker, and it was tried before
    tried = subprocess.run(
      [sys.executable, "-c", "import jax; jax.devices()"],
      env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": wanted},
      capture_output=True,
    )
    os.environ[_FLAGS] = "" if tried.returncode else wanted
  if os.environ[_FLAGS]:
    os.environ["XLA_FLAGS"] = os.environ[_FLAGS]
  jax.devices()  # reads XLA_FLAGS
  os.environ.pop("XLA_FLAGS", None)
  if before is not None:
    os.environ["XLA_FLAGS"] = before


if not _OPTIMISED:
  _compile_fast()


# Programs started by tests keep what they compile for each other, not for the
# user who runs the tests.
_CACHE = tempfile.mkdtemp()
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = _CACHE
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)


# PyTorch's CUDA build, which pip takes on most machines, brings Triton; loading
# its LLVM beside TensorFlow's in one process is a segmentation fault (seen with
# torch 2.13, Python 3.12). The oracles here run on the CPU and want none of it.
sys.modules["triton"] = None


def _lenient(function):
  """`function` under JAX's usual promotion."""

  @functools.wraps(function)
  def call(*args, **kwargs):
    with jax.numpy_dtype_promotion("standard"):
      return function(*args, **kwargs)

  return call


# Optax raises a Python float to an integer array here; our code is not to.
optax.tree.bias_correction = _lenient(optax.tree.bias_correction)

# Files of few tests that run for minutes, the longest first.
_LONG = ("test_hosts.py", "test_chaos.py", "test_kill.py", "test_notebooks.py")


def pytest_addoption(parser):
  parser.addoption(
    "--fast", action="store_true", help="leave out what tests/slow.txt lists"
  )


def pytest_collection_modifyitems(config, items):
  """Long files first: at the end, one worker would run them alone."""
  if config.getoption("--fast"):
    slow = _slow_tests()
    left_out = [item for item in items if _is_of(item.nodeid, slow)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not _is_of(item.nodeid, slow)]
  order = {name: place for place, name in enumerate(_LONG)}
  items.sort(key=lambda item: order.get(item.path.name, len(_LONG)))


def _slow_tests() -> set[str]:
  """Files, and tests of a file, with or without their parameters."""
  lines = (ROOT / "tests" / "slow.txt").read_text().splitlines()
  entries = (line.split(" #")[0].strip() for line in lines if line[:1] != "#")
  return set(filter(None, entries))


def _is_of(name: str, listed: set[str]) -> bool:
  """Whether a test, its function or its file is listed."""
  return bool({name, name.split("[")[0], name.split("::")[0]} & listed)


ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"


def change(settings: settings_lib.Settings, **changes) -> settings_lib.Settings:
  """Settings with keys replaced; sections are joined by two underscores."""
  tree = dataclasses.asdict(settings)
  for key, value in changes.items():
    *sections, name = key.split("__")
    node = tree
    for section in sections:
      node = node[section]
    if name not in node:
      raise KeyError(key)
    node[name] = value
  return settings_lib.Settings.from_config(tree)


@pytest.fixture
def usual_promotion():
  """For bfloat16: `jax.nn.dot_product_attention` does not trace strictly."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="session", name="change")
def change_fixture():
  """`change(settings, model__dtype="bfloat16")`."""
  return change


@pytest.fixture(scope="session")
def tiny() -> settings_lib.Settings:
  """2 x 4 x 4 tubes of 4 frames of 16 px, 24 masked; batch 8 on any mesh."""
  return change(
    settings_lib.Settings(),
    data__num_frames=4,
    data__size=16,
    model__patch=4,
    model__encoder_dim=32,
    model__encoder_depth=2,
    model__encoder_heads=2,
    model__decoder_dim=16,
    model__decoder_depth=1,
    model__decoder_heads=2,
    masking__ratio=0.75,
    target__hidden=(24,),
    target__dim=16,
    loss__num_prototypes=12,
    train__batch_size=8,
    train__steps=6,
    train__log_every=1,
    train__checkpoint_every=3,
    optimizer__base_lr=3e-2,
    optimizer__warmup_epochs=0.0,
  )


@pytest.fixture(scope="session")
def tiny_video(tiny) -> np.ndarray:
  """uint8 [8, 4, 16, 16, 3], noise."""
  shape = (8, tiny.data.num_frames, tiny.data.size, tiny.data.size, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="session")
def toy_clips(tmp_path_factory) -> pathlib.Path:
  """A folder as sigma_jax.data.toy makes it: 40 clips to train, 12 to judge."""
  out = tmp_path_factory.mktemp("toy") / "set"
  command = ["--out", str(out), "--train=40", "--val=12", "--workers=1"]
  subprocess.run(
    [sys.executable, "-m", "sigma_jax.data.toy", *command],
    cwd=ROOT,
    check=True,
    timeout=120,
  )
  return out


@pytest.fixture(scope="session")
def toy_command(toy_clips):
  """`toy_command(workdir, *flags)`: a small run of configs/toy.py.

  Another config gets the data alone.
  """
  pretraining = "configs/toy.py"

  def command(workdir, *flags, config=pretraining):
    model = [
      "--config.data.num_frames=4",
      "--config.data.size=16",
      "--config.model.patch=4",
      "--config.model.encoder_dim=16",
      "--config.model.encoder_depth=1",
      "--config.model.encoder_heads=2",
      "--config.model.decoder_dim=8",
      "--config.model.decoder_depth=1",
      "--config.model.decoder_heads=2",
      "--config.target.dim=8",
      "--config.target.hidden=(16,)",
      "--config.loss.num_prototypes=8",
      "--config.train.batch_size=4",
    ]
    return [
      sys.executable,
      "-m",
      "sigma_jax.main",
      f"--config={config}",
      f"--workdir={workdir}",
      f"--config.data.train={toy_clips / 'train.csv'}",
      f"--config.data.val={toy_clips / 'val.csv'}",
      f"--config.data.label_sets={toy_clips / 'label_sets.json'}",
      "--config.data.workers=2",
      *(model if config == pretraining else ()),
      *flags,
    ]

  return command


def published_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """The weight of a golden case, made from its name: see golden/README.md."""
  random = np.random.RandomState(zlib.crc32(name.encode()))
  w = random.standard_normal(shape).astype(np.float32)
  if "norm" in name and name.endswith("weight"):
    return np.float32(1) + np.float32(0.1) * w
  if name.endswith("bias"):
    return np.float32(0.02) * w
  return w if name == "prototypes" else np.float32(0.05) * w


@pytest.fixture(scope="session")
def golden():
  """`golden("pretrain_mlp")` -> namespace of options, arrays and weights.

  options: the case's JSON. arrays: its numpy arrays. weights: float32 arrays
  by their published names. Cases without JSON have arrays only.
  """

  def load(name: str) -> types.SimpleNamespace:
    case = types.SimpleNamespace(options=None, weights=None)
    with np.load(GOLDEN / f"{name}.npz") as arrays:
      case.arrays = dict(arrays)
    path = GOLDEN / f"{name}.json"
    if path.exists():
      case.options = json.loads(path.read_text())
      case.weights = {
        key: published_weight(key, tuple(shape))
        for key, shape in case.options["state_dict"].items()
      }
    return case

  return load
