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
  (tmp_path / "checkpoints").mkdir()
  assert workdir_lib.read_config(tmp_path).model.init == "xavier"
  workdir_lib.write_config(tmp_path, tiny)  # resumed by today's command
  assert tiny.model.init == "published"
  assert workdir_lib.read_config(tmp_path).model.init == "xavier"


def test_a_probe_of_the_former_attentive_head(tmp_path, tiny, change):
  """Read as it is, never gone on with as another."""
  old = change(
    tiny,
    task="supervised",
    supervised__trains="head",
    supervised__pooling="attention",
  ).to_dict()
  del old["optimizer"]["weight_decay_end"], old["model"]["table_grid"]
  (tmp_path / "config.json").write_text(json.dumps(old))
  (tmp_path / "checkpoints").mkdir()
  found = workdir_lib.read_config(tmp_path)
  assert found.supervised.pooling == "attention"
  assert found.optimizer.weight_decay_end < 0
  workdir_lib.write_config(tmp_path, found)
  today = change(
    found, supervised__pooling="attentive", optimizer__weight_decay_end=1e-6
  )
  with pytest.raises(errors.UserError) as caught:
    workdir_lib.write_config(tmp_path, today)
  message = str(caught.value)
  assert "supervised.pooling ('attention' there, 'attentive' here)" in message
  assert "weight_decay_end (-1.0 there, 1e-06 here)" in message
  assert "\n" not in message


def test_a_table_from_before_it_was_an_option(tmp_path, tiny, change):
  """Then clips of another geometry than init's had an interpolated table."""
  init = tmp_path / "init"
  init.mkdir()
  (init / "config.json").write_text(json.dumps(tiny.to_dict()))
  file = tmp_path / "x.pth"
  file.touch()
  for source, task, frames, wanted in (
    (init, "supervised", 8, tiny.grid),
    (init, "supervised", 4, ()),  # the same geometry
    (init, "pretrain", 8, ()),
    (file, "supervised", 8, (8, 56, 56)),  # 16 x 224 in patches of 4
    (tmp_path / "gone", "supervised", 8, ()),
  ):
    run = change(tiny, task=task, init=str(source), data__num_frames=frames)
    stored = run.to_dict()
    del stored["model"]["table_grid"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert workdir_lib.read_config(tmp_path).model.table_grid == wanted
