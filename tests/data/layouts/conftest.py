"""Miniature data sets on demand, and the command that reads them."""

import importlib.util
import pathlib

import pytest

from sigma_jax.data.layouts import __main__ as layouts


@pytest.fixture(scope="session")
def miniatures():
  """The module beside this file."""
  path = pathlib.Path(__file__).with_name("miniatures.py")
  spec = importlib.util.spec_from_file_location("miniatures", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="session")
def maker(miniatures, write_video, tmp_path_factory):
  path = tmp_path_factory.mktemp("clip") / "clip.mp4"
  write_video(path, frames=8, height=32, width=32)
  return miniatures.Maker(path.read_bytes())


@pytest.fixture
def miniature(miniatures, maker, tmp_path):
  """Builds one data set and gives its folder: `miniature("k400")`."""

  def build(name):
    root = tmp_path / "data" / name
    miniatures.BUILDERS[name](root, maker)
    return root

  return build


@pytest.fixture
def run(capsys):
  """Runs a command; gives its exit code, stdout and stderr."""

  def call(*arguments):
    code = layouts.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err

  return call
