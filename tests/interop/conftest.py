"""What the interop tests share."""

import importlib.util
import pathlib
import warnings

import pytest


@pytest.fixture(scope="session")
def golden_dir() -> pathlib.Path:
  """Folder of the golden cases."""
  return pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def reference():
  """The module torch_reference; skips where PyTorch is missing."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("torch", reason="compares with PyTorch")
  path = pathlib.Path(__file__).with_name("torch_reference.py")
  spec = importlib.util.spec_from_file_location("torch_reference", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  module.torch.set_num_threads(2)
  return module
