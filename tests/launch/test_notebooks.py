"""The notebooks run from top to bottom, small, as a newcomer would run them."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import nbclient
import nbformat
import pytest

import sigma_jax
from sigma_jax import tasks
from sigma_jax.data.toy import digits

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "launch").glob("*.ipynb"))


def read(name, **values):
  """A notebook with other values in the cell that readers are to change."""
  book = nbformat.read(ROOT / "launch" / f"{name}.ipynb", as_version=4)
  (cell,) = [
    c for c in book.cells if "parameters" in c.metadata.get("tags", ())
  ]
  for key, value in values.items():
    cell.source, count = re.subn(
      f"(?m)^{key} = .*", lambda _, v=value, k=key: f"{k} = {v!r}", cell.source
    )
    assert count == 1, key
  return book


def execute(name, **values):
  """Runs a notebook; returns it with its outputs."""
  book = read(name, **values)
  nbclient.NotebookClient(
    book,
    timeout=300,
    resources={"metadata": {"path": str(ROOT)}},
  ).execute()
  return book


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
  """An environment in which no setting or kernel of the user's is found."""
  home = tmp_path_factory.mktemp("jupyter")
  with pytest.MonkeyPatch.context() as patch:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
      patch.setenv(name, str(home / name))
    patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("JAX_PLATFORMS", "cpu")
    patch.setenv("MPLCONFIGDIR", str(home))
    # The programs compile for seconds and run for milliseconds.
    patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    yield


def outputs(book):
  """(printed text, number of pictures, HTML) of all cells."""
  found = [out for cell in book.cells for out in cell.get("outputs", ())]
  text = "".join(out.get("text", "") for out in found)
  data = [out.get("data", {}) for out in found]
  return (
    text,
    sum("image/png" in each for each in data),
    "".join(each.get("text/html", "") for each in data),
  )


@pytest.fixture(scope="module")
def folder(jupyter, tmp_path_factory):
  return tmp_path_factory.mktemp("colab")


@pytest.fixture(scope="module")
def colab(folder):
  sizes = {"TRAIN_CLIPS": 50, "VAL_CLIPS": 20, "STEPS": 4}
  return execute("colab", FOLDER=str(folder), **sizes)


def test_colab_trains_probes_and_shows(colab, folder):
  text, pictures, page = outputs(colab)
  assert "step 4/4" in text
  assert re.search(r"appearance linear +\d+\.\d \[", text)
  assert pictures == 2
  assert "<iframe" in page and "Prototypes" in page
  assert (folder / "run" / "probe" / "results.json").exists()


def test_features_of_the_run(colab, folder):
  book = execute(
    "features",
    CHECKPOINT=str(folder / "run"),
    TOY_CLIPS=str(folder / "clips"),
    NUM_VIDEOS=20,
  )
  text, pictures, _ = outputs(book)
  assert "20 videos, features (20, 96)" in text
  assert pictures == 2


def cell_with(book, text):
  (cell,) = [
    c for c in book.cells if text in c.source and "code" in c.cell_type
  ]
  return cell.source


def test_features_without_a_checkpoint_trains_one(tmp_path, monkeypatch):
  done = {}

  class Stop(Exception):
    pass

  def load(path):
    raise Stop(path)

  monkeypatch.setattr(digits, "write", lambda out, spec: done.update(clips=out))
  monkeypatch.setattr(tasks, "run", lambda *job: done.update(job=job))
  monkeypatch.setattr(sigma_jax, "load", load)
  checkpoint, clips = str(tmp_path / "run"), str(tmp_path / "clips")
  book = read("features", CHECKPOINT=checkpoint, TOY_CLIPS=clips, TOY_STEPS=7)
  names = {}
  exec(cell_with(book, "CHECKPOINT ="), names)
  with pytest.raises(Stop, match=re.escape(checkpoint)):
    exec(cell_with(book, "sigma_jax.load("), names)
  run, workdir = done["job"]
  assert (run.data.train, run.train.steps) == (f"{clips}/train.csv", 7)
  assert (str(workdir), done["clips"]) == (checkpoint, clips)
  assert workdir.is_dir()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_code_is_fetched_where_there_is_none(path, tmp_path, monkeypatch):
  calls = []

  def run(command, check):
    calls.append(command)
    if command[0] == "git":
      pathlib.Path("checkout").mkdir()

  monkeypatch.setattr(subprocess, "run", run)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.setattr(shutil, "which", {"nvidia-smi": "there"}.get)
  monkeypatch.setattr(sys, "path", [*sys.path])
  monkeypatch.chdir(tmp_path)
  exec(cell_with(read(path.stem), "REPOSITORY ="), {})
  assert pathlib.Path.cwd() == tmp_path / "checkout"
  assert sys.path[0] == str(tmp_path / "checkout")
  clone, pip = calls
  assert (clone[:2], clone[3]) == (["git", "clone"], "checkout")
  assert pip[1:4] == ["-m", "pip", "install"]
  assert pip[-3:-1] == ["-r", "requirements.txt"]
  assert pip[-1] in ("jax[cuda12]", "jax[tpu]")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_nothing_is_fetched_in_a_checkout(path, monkeypatch):
  monkeypatch.setattr(subprocess, "run", None)
  monkeypatch.setattr(sys, "path", [*sys.path])
  monkeypatch.chdir(ROOT / "launch")  # where Jupyter starts its kernel
  exec(cell_with(read(path.stem), "REPOSITORY ="), {})
  assert pathlib.Path.cwd() == ROOT


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_stored_without_outputs_and_with_words(path):
  book = nbformat.read(path, as_version=4)
  nbformat.validate(book)
  kinds = [cell.cell_type for cell in book.cells]
  assert kinds.count("markdown") >= kinds.count("code") - 3
  for cell in book.cells:
    if cell.cell_type == "code":
      assert cell.outputs == []
      assert cell.execution_count is None
  assert "YOUR-ACCOUNT" in path.read_text()
  assert os.fspath(sys.prefix) not in path.read_text()
