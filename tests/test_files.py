"""Files are written whole, on a disk and in a bucket, and where they belong."""

import ast
import json
import os
import pathlib

import numpy as np
import pytest
from etils.epath import backend as backends
from etils.epath import gpath

from sigma_jax import errors, files
from sigma_jax.evaluate import frozen, predictions
from sigma_jax.interop import store
from sigma_jax.train import identity, metrics
from sigma_jax.train import workdir as workdir_lib

PACKAGE = pathlib.Path(__file__).parents[1] / "sigma_jax"


class Bucket(type(backends.os_backend)):
  """gs:// as a folder; objects are written whole, or the test fails."""

  def __init__(self, folder):
    self._folder = folder

  def _local(self, path):
    name = os.fspath(path)
    assert name.startswith("gs://"), name
    return str(self._folder / name.removeprefix("gs://"))

  def open(self, path, mode):
    assert "a" not in mode and "+" not in mode, "objects are not appended to"
    local = self._local(path)
    os.makedirs(os.path.dirname(local), exist_ok=True)
    return super().open(local, mode)

  def replace(self, path, dst):
    raise AssertionError("a rename is a copy there")


for _name in ("exists", "isdir", "listdir", "makedirs", "mkdir", "remove"):

  def _method(self, path, *args, _name=_name, **kwargs):
    call = getattr(super(Bucket, self), _name)
    return call(self._local(path), *args, **kwargs)

  setattr(Bucket, _name, _method)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """Where gs://b is kept; the working directory is empty."""
  folder, here = tmp_path / "bucket", tmp_path / "here"
  here.mkdir()
  monkeypatch.chdir(here)
  stub, real = Bucket(folder), gpath._GPath._backend.fget
  monkeypatch.setattr(
    gpath._GPath,
    "_backend",
    property(lambda self: stub if self._uri_scheme else real(self)),
  )
  yield folder / "b"
  assert not list(here.iterdir()), "written to the local disk"


def test_results_of_a_bucket_go_there(bucket, monkeypatch):
  workdir = workdir_lib.path("gs://b/run")
  for given in (workdir, "gs://b/run"):
    frozen.write(given, {"rows": [1]})
    found = json.loads((bucket / "run" / "results.json").read_text())
    assert found == {"rows": [1]}
  identity.claim(workdir, {"init": identity.Thing("x", "1")})
  assert (bucket / "run" / "identity.json").is_file()
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)
  writer = metrics.Writer(workdir)
  writer.write(1, {"loss": 1.0})
  writer.close()
  assert (bucket / "run" / "metrics.jsonl").read_text() == (
    '{"step": 1, "loss": 1.0}\n'
  )
  part = predictions.Predictions(np.zeros((1, 2, 3)), np.arange(2), np.zeros(2))
  for _ in range(2):  # the second time from the file
    found = predictions.in_parts(workdir / "test", [], 2, lambda *_: part)
    assert found.values.shape == (1, 2, 3)
  assert (bucket / "run" / "test" / "00000000.npz").is_file()


def test_an_init_in_a_bucket_is_looked_for_there(bucket):
  with pytest.raises(errors.UserError, match="no such checkpoint: gs://b/x"):
    store.read("gs://b/x")
  files.write_whole("gs://b/x.pth", b"")
  with pytest.raises(errors.UserError, match="has to be on a local disk"):
    store.read("gs://b/x.pth")


def test_a_file_is_the_old_one_or_the_new(tmp_path):
  file = tmp_path / "a"
  files.write_whole(file, "old")

  def half(out):
    out.write(b"new")
    raise OSError(28, "No space left on device")

  with pytest.raises(OSError, match="No space"):
    files.write_whole(file, half)
  assert file.read_text() == "old"
  files.write_whole(file, lambda out: out.write(b"new"))
  files.write_whole(str(tmp_path / "b"), files.npz(x=np.arange(3)))
  assert file.read_text() == "new"
  np.testing.assert_array_equal(np.load(tmp_path / "b")["x"], [0, 1, 2])


def test_nothing_else_writes_into_workdirs():
  """write_text and write_bytes leave half a file behind a kill."""
  found = []
  for part in ("evaluate", "report", "tasks", "train", "interop"):
    for path in (PACKAGE / part).rglob("*.py"):
      for node in ast.walk(ast.parse(path.read_text())):
        name = getattr(node, "attr", "")
        if name in ("write_text", "write_bytes", "savez"):
          found.append(f"{path.name}:{node.lineno}")
  assert found == []
