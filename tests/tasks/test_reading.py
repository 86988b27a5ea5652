"""Which clips a process reads."""

import types

import numpy as np
import pytest

from sigma_jax.data import mixture, pipeline
from sigma_jax.methods import method
from sigma_jax.settings import config_file
from sigma_jax.tasks import reading
from sigma_jax.train import ahead, feed, loop
from sigma_jax.train import mesh as mesh_lib


def test_those_of_its_own_devices(tiny, monkeypatch, tmp_path):
  """A share by its number would be other clips wherever the mesh is crossed."""

  def rows(mesh, batch_size):
    assert (mesh.size, batch_size) == (8, 8)
    return np.asarray([1, 3, 5, 7])

  monkeypatch.setattr(mesh_lib, "rows", rows)
  monkeypatch.setattr(pipeline, "train_batches", lambda *_, **options: options)
  source = types.SimpleNamespace(files=tuple(map(str, range(40))))
  opened = reading.Training(tiny, tmp_path, source)(6)
  assert opened["slots"].tolist() == [1, 3, 5, 7]
  assert opened["start_step"] == 6


@pytest.mark.parametrize(
  "name", ["toy", "toy_mgmae", "toy_mme", "toy_vjepa", "toy_swav", "toy_dino"]
)
def test_the_step_is_compiled_for_what_is_read(name, toy_clips, tmp_path):
  """Else it would be compiled twice: while the data opens, and again."""
  config = config_file.changed(
    config_file.load(f"configs/{name}.py"),
    {
      "data.train": str(toy_clips / "train.csv"),
      "data.workers": 1,
      "train.batch_size": 8,
    },
  )
  chosen = method.of(config)
  job, mesh = loop.job_of(chosen), mesh_lib.make(config.mesh)
  training = reading.Training(
    config,
    tmp_path,
    mixture.load(config.data),
    chosen.views(),
    chosen.luma,
  )
  batches = feed.Feed(training(0), mesh, job.inputs)
  try:
    found, _ = next(batches)
  finally:
    batches.close()
  expected = ahead.batch(config, mesh, job.batch, job.inputs)
  assert {
    key: (value.shape, value.dtype, value.sharding)
    for key, value in found.items()
  } == {
    key: (value.shape, value.dtype, value.sharding)
    for key, value in expected.items()
  }
