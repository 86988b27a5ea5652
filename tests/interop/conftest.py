"""What the interop tests share."""

import importlib.util
import pathlib
import warnings
from typing import NamedTuple

import jax
import numpy as np
import pytest

from sigma_jax import settings
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import published

SMALL = settings.Model(
  patch=8,
  encoder_dim=48,
  encoder_depth=2,
  encoder_heads=3,
  decoder_dim=32,
  decoder_depth=1,
  decoder_heads=2,
)


class Small(NamedTuple):
  """A small model of random weights.

  layout: its sizes. params: ours. tensors: the same by published names.
  options: what `interop.store.read` has to be told of a state dict.
  """

  layout: layout_lib.Layout
  params: dict
  tensors: dict[str, np.ndarray]
  options: dict[str, int]


def small_model(**parts) -> Small:
  """With these parts of a `Layout`; 4 frames of 16 pixels."""
  layout = layout_lib.Layout(SMALL, **parts)
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: random.normal(size=leaf.shape).astype(np.float32),
    layout_lib.shapes(layout),
  )
  options = {
    "num_frames": 4,
    "size": 16,
    "encoder_heads": SMALL.encoder_heads,
    "decoder_heads": SMALL.decoder_heads if layout.target_dim else 0,
  }
  return Small(layout, params, published.from_params(params, layout), options)


@pytest.fixture(scope="session")
def small() -> Small:
  """Pre-trained with SIGMA's mlp target."""
  return small_model(target_dim=24, num_prototypes=10, hidden=(16,))


@pytest.fixture(scope="session")
def classifier() -> Small:
  """Fine-tuned, of three classes."""
  return small_model(num_classes=3)


@pytest.fixture(scope="session")
def torch():
  """PyTorch, which writes what others' scripts write; skips without it."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return pytest.importorskip("torch", reason="writes the files")


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
