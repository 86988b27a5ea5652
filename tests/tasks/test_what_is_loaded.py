"""A run with labels comes back as what was tested: its weights and classes."""

import json

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.data import pipeline, sources
from sigma_jax.interop import hugging_face, runs, store
from sigma_jax.models import sigma
from sigma_jax.tasks import supervised
from sigma_jax.train import checkpoint, metrics

DECAY = 0.9


@pytest.fixture(scope="module", name="tuned")
def tuned_fixture(tiny, change, toy_clips, tmp_path_factory):
  """A fine-tuning whose average is far from its last step."""
  folder = tmp_path_factory.mktemp("averaged")
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(folder / "init", tiny, params, step=7)
  config = change(
    tiny,
    task="supervised",
    init=str(folder / "init"),
    data__train=str(toy_clips / "train.csv"),
    data__val=str(toy_clips / "val.csv"),
    data__label_sets=str(toy_clips / "label_sets.json"),
    data__workers=1,
    augment__num_ops=0,
    optimizer__base_lr=1.0,
    optimizer__warmup_epochs=0.0,
    supervised__label_set="motion",
    supervised__views=(1, 1),
    supervised__test_batch_size=8,
    supervised__head_scale=1.0,
    supervised__bootstrap=50,
    supervised__ema=DECAY,
    train__steps=3,
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(metrics, "_tensorboard", lambda workdir: None)
    supervised.run(config, folder / "tuned")
  return folder / "tuned"


@pytest.fixture(scope="module", name="video")
def video_fixture(tuned, toy_clips):
  """The clips that the run was tested on."""
  config = sigma_jax.load(tuned).settings
  source = sources.load(str(toy_clips / "val.csv"))
  with pipeline.eval_batches(
    config, source, batch_size=len(source), on_bad=lambda *_: None
  ) as batches:
    return next(batches)["video"]


def probabilities(source, video, **options):
  head = store.read(source, **options).params["head"]
  pooled = np.asarray(sigma_jax.load(source, **options).encode(video).pooled)
  return np.asarray(jax.nn.softmax(pooled @ head["kernel"] + head["bias"]))


def test_what_was_tested_is_loaded(tuned, video, capsys):
  with np.load(tuned / "test" / "00000000.npz") as found:
    tested = found["values"][0]
  np.testing.assert_allclose(probabilities(tuned, video), tested, atol=1e-4)
  said = capsys.readouterr().err
  assert f"supervised.ema={DECAY}" in said
  last = probabilities(tuned, video, weights="last")
  assert np.abs(last - tested).max() > 0.01
  params, step = checkpoint.restore_params(tuned)
  assert step == 3
  read = store.read(tuned, weights="last").params
  jax.tree.map(np.testing.assert_array_equal, read, params)


def test_classify_says_what_was_tested(tuned, video, toy_clips, tmp_path):
  with np.load(tuned / "test" / "00000000.npz") as found:
    tested = found["values"][0]
  sets = json.loads((toy_clips / "label_sets.json").read_text())
  found = sigma_jax.load(tuned).classify(video)
  assert found.names == tuple(sets["motion"]["names"])
  assert found.logits.dtype == np.float32
  assert found.logits.shape == (len(video), len(found.names))
  np.testing.assert_allclose(jax.nn.softmax(found.logits), tested, atol=1e-4)
  store.export(store.read(tuned), tmp_path / "x.pth", "pth", print)
  again = sigma_jax.load(tmp_path / "x.pth").classify(video)
  np.testing.assert_allclose(again.logits, found.logits, atol=1e-5)


def test_what_cannot_classify_says_so(tuned, video):
  with pytest.raises(errors.UserError, match="no classifier: it is of kind"):
    sigma_jax.load(tuned.parent / "init").classify(video)
  with pytest.raises(ValueError, match="video must be uint8"):
    sigma_jax.load(tuned).classify(video[0])


@pytest.mark.parametrize("kind", ["pth", "hf"])
def test_what_was_tested_is_exported(tuned, video, tmp_path, kind):
  out = tmp_path / "out"
  store.export(store.read(tuned), out, kind, print)
  np.testing.assert_allclose(
    probabilities(out, video), probabilities(tuned, video), atol=1e-5
  )


@pytest.mark.parametrize("kind", ["pth", "hf"])
def test_a_last_norm_beside_the_heads_is_not_exported(tuned, tmp_path, kind):
  """No format has a place for both (`model.pool_normed`)."""
  model = store.read(tuned)
  norm = {name: np.ones(32) for name in ("scale", "bias")}
  encoder = model.params["encoder"] | {"norm": norm}
  kept = model._replace(params=model.params | {"encoder": encoder})
  with pytest.raises(errors.UserError, match=r"model\.pool_normed"):
    store.export(kept, tmp_path / "out", kind, print)
  assert not (tmp_path / "out").exists()


def test_classes_are_named_as_in_the_labels(tuned, toy_clips, tmp_path):
  sets = json.loads((toy_clips / "label_sets.json").read_text())
  names = tuple(sets["motion"]["names"])
  assert store.read(tuned).class_names == names
  store.export(store.read(tuned), tmp_path / "hf", "hf", print)
  config = json.loads((tmp_path / "hf" / hugging_face.CONFIG).read_text())
  assert config["id2label"] == {str(i): name for i, name in enumerate(names)}


def test_a_copy_of_the_run_is_the_same(tuned, video, tmp_path):
  """Imported as a workdir, with what was tested."""
  store.write_workdir(tmp_path / "copy", store.read(tuned), tuned, print)
  np.testing.assert_array_equal(
    probabilities(tmp_path / "copy", video), probabilities(tuned, video)
  )


def test_without_an_average(tuned, tmp_path):
  init = tuned.parent / "init"
  with pytest.raises(errors.UserError, match="no average"):
    store.read(init, weights="average")
  with pytest.raises(errors.UserError, match="weights must be last"):
    store.read(init, weights="best")


def test_numbers_are_no_names(tmp_path):
  runs.write_class_names(tmp_path, ("0", "1", "2"))
  assert not (tmp_path / runs.CLASS_NAMES).exists()
