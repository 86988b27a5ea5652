"""The encoder that a training with labels starts from, and what comes back."""

import json

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import store
from sigma_jax.methods import method
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


def same(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module", name="formats")
def formats_fixture(tiny, init, tmp_path_factory):
  """The pre-training's model in all that `init` may be."""
  tmp_path = tmp_path_factory.mktemp("formats")
  model = store.read(init)
  note = [].append
  store.export(model, tmp_path / "x.pth", "pth", note)
  store.export(model, tmp_path / "hf", "hf", note)
  whole = store.read(tmp_path / "x.pth", config=tiny)
  store.write_workdir(tmp_path / "imported", whole, "x.pth", note)
  encoder = store.read(tmp_path / "hf")
  store.write_workdir(tmp_path / "encoder", encoder, "hf", note)
  return tmp_path


@pytest.mark.parametrize(
  ("name", "whole"),
  [("x.pth", True), ("imported", True), ("hf", False), ("encoder", False)],
)
def test_pre_training_starts_from_any_checkpoint(
  tiny, change, init, formats, capsys, name, whole
):
  own, _ = checkpoint.restore_params(init)
  config = change(tiny, init=str(formats / name))
  params, taken, step = starting.for_pretraining(config)
  same(params["encoder"], own["encoder"])
  assert step == (0 if name in ("imported", "encoder") else None)
  said = capsys.readouterr().out
  fresh = jax.jit(method.of(config).init)(jax.random.key(config.seed))
  if whole:
    same(params, own)
    same(taken, own)
    assert "drawn at random" not in said
    return
  same(taken, {"encoder": own["encoder"]})
  same(params, fresh | {"encoder": own["encoder"]})
  assert "drawn at random: decoder, prototypes, target" in said


def test_pre_training_starts_from_all_of_a_run(tiny, change, init):
  params, taken, step = starting.for_pretraining(change(tiny, init=str(init)))
  own, last = checkpoint.restore_params(init)
  same(params, own)
  assert params is taken and step == last == 7


def test_a_fine_tuned_encoder_has_no_last_norm(
  tiny, change, init, tmp_path, capsys
):
  own, _ = checkpoint.restore_params(init)
  encoder = {k: v for k, v in own["encoder"].items() if k != "norm"}
  layout = layout_lib.Layout(tiny.model, num_classes=3)
  head = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, np.float32), layout_lib.shapes(layout)
  )
  model = store.Model(layout, head | {"encoder": encoder}, tiny)
  store.export(model, tmp_path / "tuned.pth", "pth", print)
  config = change(tiny, init=str(tmp_path / "tuned.pth"))
  params, taken, _ = starting.for_pretraining(config)
  same(taken, {"encoder": encoder})
  assert (params["encoder"]["norm"]["scale"] == 1).all()
  assert "prototypes, target, encoder norm" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("x.pth", r"model\.encoder_depth \(2 in the checkpoint, 1 in the config"),
    ("MCG-NJU/videomae-base", "hf download MCG-NJU/videomae-base --local-dir"),
    ("nothing.pth", "no such checkpoint: .*nothing.pth$"),
  ],
)
def test_what_pre_training_cannot_start_from(
  tiny, change, formats, monkeypatch, name, words
):
  monkeypatch.chdir(formats)
  config = change(tiny, init=name, model__encoder_depth=1)
  with pytest.raises(errors.UserError, match=words):
    starting.for_pretraining(config)


def test_what_is_drawn_is_said_of_a_fresh_run(
  tiny, change, formats, tmp_path, monkeypatch, capsys
):
  config = change(tiny, init=str(formats / "hf"))
  pretrain._initial(config, tmp_path)
  assert "drawn at random" in capsys.readouterr().out
  # As where checkpoints are there already.
  monkeypatch.setattr(pretrain.identity, "trained", lambda workdir: True)
  pretrain._initial(config, tmp_path)
  assert capsys.readouterr().out == ""
