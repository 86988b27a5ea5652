"""Where a run's files stand, on a disk or in a bucket."""

import json
import pathlib

import pytest
from etils import epath

from sigma_jax import errors, files
from sigma_jax.train import metrics
from sigma_jax.train import workdir as workdir_lib


def test_a_local_folder_is_made_absolute():
  here = epath.Path(pathlib.Path.cwd())
  assert workdir_lib.path("runs/a") == here / "runs" / "a"
  assert not files.is_remote("runs/a")


def test_a_bucket_stays_one():
  folder = workdir_lib.checkpoints("gs://bucket/run")
  assert str(folder) == "gs://bucket/run/checkpoints"
  assert files.is_remote(folder)


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  file = epath.Path(tmp_path / "a.json")
  files.write_whole(file, "old")

  def full(self, target):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "replace", full)
  monkeypatch.setattr(type(file), "replace", full)
  with pytest.raises(OSError, match="No space"):
    files.write_whole(file, "new")
  assert file.read_text() == "old"


def test_metrics_of_a_bucket_are_written_whole(tmp_path, monkeypatch):
  """Objects cannot be appended to."""
  monkeypatch.setattr(files, "is_remote", lambda path: True)
  monkeypatch.setattr(workdir_lib, "path", epath.Path)
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)
  for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
    writer = metrics.Writer(tmp_path, start)
    for step in steps:
      writer.write(step, {"loss": step + start / 10})
      rows = metrics.read(tmp_path)
      assert rows[-1]["step"] == step, "each line is there at once"
    writer.close()
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in lines] == [
    {"step": 1, "loss": 1.0},
    {"step": 2, "loss": 2.0},
    {"step": 3, "loss": 3.2},
    {"step": 4, "loss": 4.2},
  ]


def test_a_run_from_before_initialisation_was_an_option(tmp_path, tiny):
  # Its weights were drawn as "xavier", and its random baseline still is.
  stored = tiny.to_dict()
  del stored["model"]["init"]
  (tmp_path / "config.json").write_text(json.dumps(stored))
  assert tiny.model.init == "published"
  assert workdir_lib.read_config(tmp_path).model.init == "xavier"


@pytest.mark.parametrize("content", ['{"model_type": "videomae"}', "[1]"])
def test_a_folder_of_transformers_is_no_run(tmp_path, content):
  (tmp_path / workdir_lib.CONFIG).write_text(content)
  with pytest.raises(errors.UserError, match=r"sigma_jax\.interop import"):
    workdir_lib.read_config(tmp_path)
