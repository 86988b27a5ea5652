"""The encoder that a training with labels starts from, and what comes back."""

import json

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.interop import store
from sigma_jax.tasks import pretrain, starting, supervised
from sigma_jax.train import checkpoint, metrics
from sigma_jax.train import supervised as train_supervised


@pytest.fixture(scope="module", name="base")
def base_fixture(base, change, init):
  """A fine-tuning of it, one step."""
  return change(
    base,
    init=str(init),
    supervised__views=(1, 1),
    train__steps=1,
  )


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
def test_attentive_heads_alone_read_tokens_after_the_last_norm(
  base, change, init, pooling
):
  config = change(base, supervised__trains="head", supervised__pooling=pooling)
  fresh = train_supervised.Task(config, 4).fresh(jax.random.key(0))
  given, _ = checkpoint.restore_params(init)
  given["encoder"]["norm"]["scale"] = np.full(32, 3.0, np.float32)
  found = starting.encoder(given, fresh["encoder"])
  np.testing.assert_array_equal(
    found["embed"]["kernel"], given["encoder"]["embed"]["kernel"]
  )
  if pooling == "mean":
    assert "norm" not in found
    return
  assert (found["norm"]["scale"] == 3).all()
  # A fine-tuned model has none: LayerNorm without weights.
  del given["encoder"]["norm"]
  found = starting.encoder(given, fresh["encoder"])
  assert (found["norm"]["scale"] == 1).all()
  assert not found["norm"]["bias"].any()
  # Without `init` all of it is fresh.
  assert starting.encoder({}, fresh["encoder"]) == fresh["encoder"]


def same_as_trained(workdir, config):
  """Whether the workdir's encoder, read back, is the one that was trained."""
  run = starting.with_model(config)[0]
  trained, _ = checkpoint.restore_params(workdir)
  task = train_supervised.Task(run, len(trained["head"]["bias"]))
  shape = (2, run.data.num_frames, 16, 16, 3)
  video = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  logits = task.outputs(trained, {}, video)[0]
  pooled = sigma_jax.load(workdir).encode(video).pooled
  found = pooled @ trained["head"]["kernel"] + trained["head"]["bias"]
  return np.abs(found - logits).max() < 1e-4


def test_a_model_of_longer_clips_comes_back_with_its_table(
  base, change, monkeypatch, tmp_path
):
  """Fine-tuned on twice the frames of its pre-training."""
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)
  config = change(base, data__num_frames=8, model__table_grid=(2, 4, 4))
  supervised.run(config, tmp_path)
  found = json.loads((tmp_path / "results.json").read_text())
  assert found["rows"][0]["num_test"] == 12
  rows = change(config, model__table_grid=())
  assert same_as_trained(tmp_path, config)
  assert not same_as_trained(tmp_path, rows)
  with pytest.raises(errors.UserError, match=r"table_grid .*there, .* here"):
    supervised.run(rows, tmp_path)
  with pytest.raises(errors.UserError, match="encoder was trained with the"):
    supervised.run(change(config, model__table_grid=(2, 8, 8)), tmp_path)
  with pytest.raises(errors.UserError, match="can say so"):
    store.export(store.read(tmp_path), tmp_path / "x.pth", "pth", print)
  file = tmp_path / "config.json"
  stored = json.loads(file.read_text())
  # A run from before the option: its table was interpolated from init's.
  assert stored["model"].pop("table_grid") == [2, 4, 4]
  file.write_text(json.dumps(stored))
  assert same_as_trained(tmp_path, config)
  # And one of today that asks for nothing has the formula's rows.
  stored["model"]["table_grid"] = []
  file.write_text(json.dumps(stored))
  assert same_as_trained(tmp_path, rows)


def test_pre_training_has_no_other_table(tiny, change, tmp_path):
  config = change(tiny, model__table_grid=(2, 4, 4))
  with pytest.raises(errors.UserError, match="has the formula's own rows"):
    pretrain.run(config, tmp_path)
