"""A tiny run with everything that a report can show."""

import json

import av
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.train import checkpoint, optimizer, state
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import workdir as workdir_lib


def _tiny_config(folder, **changes) -> settings_lib.Settings:
  """8 frames of 16 px in tubes of 2 x 8 x 8: 16 tubes a clip."""
  config = settings_lib.default_config()
  config.data.val = f"{folder}/val.csv"
  config.data.num_frames, config.data.stride, config.data.size = 8, 1, 16
  config.data.workers = 1
  config.model.patch = 8
  for side in ("encoder", "decoder"):
    config.model[f"{side}_dim"] = 8
    config.model[f"{side}_depth"] = 1
    config.model[f"{side}_heads"] = 2
  config.masking.ratio = 0.5
  config.target.hidden, config.target.dim = (8,), 4
  config.loss.num_prototypes = 6
  config.train.batch_size, config.train.steps = 4, 30
  config.update_from_flattened_dict(changes)
  return settings_lib.Settings.from_config(config)


def _metric_rows(**changes) -> list[dict]:
  """Three logged steps of a healthy run."""
  row = {
    **{"loss": 3.5, "agreement": 0.2, "used": 1.0, "perplexity": 5.0},
    **{"feature_std": 0.3, "target_std": 0.4, "grad_norm": 1.0},
    **{"learning_rate": 1e-3, "clips_per_second": 9.0, "wait_share": 0.1},
  }
  return [{"step": step, **row, **changes} for step in (10, 20, 30)]


def _probe_row(encoder, label_set, top1, half=0.02, protocol="linear") -> dict:
  """A row as evaluate.frozen writes it."""
  return {
    **{"encoder": encoder, "label_set": label_set, "protocol": protocol},
    **{"top1": top1, "low": top1 - half, "high": top1 + half},
    **{"num_train": 40, "num_test": 20, "chance": 0.1},
  }


def _write_run(workdir, settings, rows=(), probe=(), params=False):
  """Writes config.json and what else is asked for."""
  workdir_lib.write_config(workdir, settings)
  if rows:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (workdir / "metrics.jsonl").write_text(lines)
  if probe:
    (workdir / "probe").mkdir()
    content = {"step": 30, "rows": list(probe)}
    (workdir / "probe/results.json").write_text(json.dumps(content))
  if params:
    _save(workdir, settings)
  return workdir


def _save(workdir, settings):
  tx, _ = optimizer.make(
    settings.optimizer, batch_size=4, total_steps=30, steps_per_epoch=1.0
  )
  checkpoints = checkpoint.Checkpointer(workdir, settings.train)
  mesh = mesh_lib.make(settings_lib.Mesh())
  checkpoints.save(30, state.create(settings, tx, mesh))
  checkpoints.close()


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
  """Five readable clips of noise, an empty file, and their manifest."""
  folder = tmp_path_factory.mktemp("clips")
  rng = np.random.default_rng(0)
  for number in range(5):
    with av.open(str(folder / f"{number}.mp4"), "w") as file:
      stream = file.add_stream("libx264", rate=8)
      stream.height, stream.width, stream.pix_fmt = 24, 24, "yuv420p"
      for _ in range(8):
        image = rng.integers(0, 256, (24, 24, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        file.mux(stream.encode(frame))
      file.mux(stream.encode())
  (folder / "5.mp4").touch()
  lines = "".join(f"{number}.mp4 {number}\n" for number in range(6))
  (folder / "val.csv").write_text(lines)
  return folder


@pytest.fixture(scope="session")
def tiny_config():
  """The function (folder of val.csv, **changes) -> Settings."""
  return _tiny_config


@pytest.fixture(scope="session")
def metric_rows():
  """The function (**changes) -> rows of metrics.jsonl."""
  return _metric_rows


@pytest.fixture(scope="session")
def probe_row():
  """The function (encoder, label_set, top1, half, protocol) -> row."""
  return _probe_row


@pytest.fixture(scope="session")
def write_run():
  """The function (workdir, settings, rows, probe, params) -> workdir."""
  return _write_run
