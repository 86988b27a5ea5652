"""Which clips a process reads."""

import types

import numpy as np

from sigma_jax.data import pipeline
from sigma_jax.tasks import reading
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
