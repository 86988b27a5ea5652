"""V-JEPA's published files through the tasks: features, kNN, released heads."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import errors, features
from sigma_jax.data import pipeline, sources
from sigma_jax.interop import golden_case, probes, store, torch_writer, vjepa
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import heads
from sigma_jax.tasks import probe, supervised
from sigma_jax.train import metrics

WIDTH, CLASSES = 16, 10


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)


def weights(shapes):
  return {name: golden_case.weight(name, s) for name, s in shapes.items()}


def linear(name, out, inputs):
  return {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}


def norms(prefix, *names):
  return {
    f"{prefix}{name}.{kind}": (WIDTH,)
    for name in names
    for kind in ("weight", "bias")
  }


def mlp(prefix):
  wide = 4 * WIDTH
  return linear(f"{prefix}mlp.fc1", wide, WIDTH) | linear(
    f"{prefix}mlp.fc2", WIDTH, wide
  )


@pytest.fixture(scope="module", name="files")
def files_fixture(tmp_path_factory):
  """A V-JEPA 2 of one block and 2 x 2 x 2 tubes, and a probe of its tokens."""
  folder = tmp_path_factory.mktemp("released")
  encoder = {
    "patch_embed.proj.weight": (WIDTH, 3, 2, 8, 8),
    "patch_embed.proj.bias": (WIDTH,),
    **norms("", "norm"),
    **norms("blocks.0.", "norm1", "norm2"),
    **linear("blocks.0.attn.qkv", 3 * WIDTH, WIDTH),
    **linear("blocks.0.attn.proj", WIDTH, WIDTH),
    **mlp("blocks.0."),
  }
  block = "pooler.cross_attention_block."
  head = {
    "pooler.query_tokens": (1, 1, WIDTH),
    **norms(block, "norm1", "norm2"),
    **linear(f"{block}xattn.q", WIDTH, WIDTH),
    **linear(f"{block}xattn.kv", 2 * WIDTH, WIDTH),
    **mlp(block),
    **linear("linear", CLASSES, WIDTH),
  }
  facts = json.dumps({"num_frames": 4, "size": 16, "encoder_heads": 2})
  for name, key, shapes in (
    ("encoder.pt", vjepa.KEY, encoder),
    ("probe.pt", "classifier", head),
  ):
    made = weights(shapes)
    # So that clips get different classes.
    made = {n: 5 * x if n.endswith("weight") else x for n, x in made.items()}
    torch_writer.save(folder / name, made, key, {"sigma_jax": facts})
  return folder


@pytest.fixture(scope="module", name="base")
def base_fixture(tiny, change, toy_clips, files):
  return change(
    tiny,
    init=str(files / "encoder.pt"),
    data__num_frames=4,
    data__size=16,
    data__stride=1,
    data__workers=1,
    data__val=str(toy_clips / "val.csv"),
    data__label_sets=str(toy_clips / "label_sets.json"),
  )


@pytest.fixture(scope="module", name="released")
def released_fixture(base, change, files):
  return change(
    base,
    task="supervised",
    data__train="",
    supervised__trains="head",
    supervised__pooling="attentive",
    supervised__head=str(files / "probe.pt"),
    supervised__label_set="appearance",
    supervised__views=(1, 1),
    supervised__test_batch_size=8,
    supervised__bootstrap=20,
  )


def test_a_released_head_is_tested_as_it_is(released, files, tmp_path):
  supervised.run(released, tmp_path)
  found = json.loads((tmp_path / "results.json").read_text())
  (row,) = found["rows"]
  assert row["protocol"] == "attentive, released head"
  assert (row["num_train"], row["num_test"]) == (0, 12)
  assert not (tmp_path / "checkpoints").exists()  # nothing was trained
  # The same by hand: the file's encoder and head on the clips of the test.
  encoder = store.read(files / "encoder.pt", note=lambda line: None)
  head = probes.read(files / "probe.pt", lambda line: None)
  whole = layout_lib.assemble(
    {**head.params, "encoder": encoder.params["encoder"]},
    heads.Classifier,
    encoder.settings.model,
    (2, 2, 2),
    CLASSES,
    pooling="attentive",
  )
  source = sources.load(released.data.val)
  batches = pipeline.eval_batches(
    released, source, batch_size=16, views=(1, 1), on_bad=pytest.fail
  )
  (batch,) = [*batches]
  logits = np.asarray(whole(jnp.asarray(batch["video"])))
  part = np.load(next((tmp_path / "test").glob("*.npz")))
  order = np.argsort(batch["index"][batch["valid"]])
  wanted = np.asarray(jax.nn.softmax(logits))[batch["valid"]][order]
  values = part["values"][0][np.argsort(part["rows"])]
  assert len(set(wanted.argmax(axis=1))) > 1
  np.testing.assert_allclose(values, wanted, atol=1e-5)


def test_a_head_that_does_not_fit(released, change, tmp_path, files):
  made = weights(linear("linear", 3, 8) | {"pooler.query_tokens": (1, 1, 8)})
  torch_writer.save(tmp_path / "x.pt", made, "classifier", {})
  for name, words in ((tmp_path / "x.pt", "missing"), ("none.pt", "no file")):
    run = change(released, supervised__head=str(name))
    with pytest.raises(errors.UserError, match=words):
      supervised.run(run, tmp_path / "run")
  for changes, words in (
    ({"supervised__trains": "all"}, "supervised.trains='head'"),
    ({"supervised__pooling": "mean"}, "supervised.pooling='attentive'"),
  ):
    with pytest.raises(ValueError, match=words):
      change(released, **changes)


def test_frozen_probes_and_features(base, change, toy_clips, files, tmp_path):
  run = change(
    base,
    task="probe",
    data__train=str(toy_clips / "train.csv"),
    probe__batch_size=8,
    probe__train_samples=1,
    probe__bootstrap=20,
  )
  probe.run(run, tmp_path / "knn")
  rows = json.loads((tmp_path / "knn" / "results.json").read_text())["rows"]
  assert {row["encoder"] for row in rows} == {"pretrained", "random"}
  out = tmp_path / "f.npz"
  argv = [f"--init={files / 'encoder.pt'}", f"--out={out}"]
  argv += [f"--manifest={toy_clips / 'val.csv'}", "--batch-size=8"]
  assert features.main(argv) == 0
  with np.load(out) as stored:
    assert stored["features"].shape == (12, WIDTH)
    # The mean of tokens after a LayerNorm whose bias is small.
    assert np.isfinite(stored["features"]).all()


def test_settings_of_v_jepa_2s_probe_train(base, change, toy_clips, tmp_path):
  """Blocks of self-attention in front, as an option of our own probes."""
  run = change(
    base,
    task="supervised",
    data__train=str(toy_clips / "train.csv"),
    supervised__trains="head",
    supervised__pooling="attentive",
    supervised__pool_blocks=1,
    supervised__pool_heads=4,
    supervised__views=(1, 1),
    supervised__bootstrap=20,
    train__steps=2,
  )
  supervised.run(run, tmp_path)
  assert (tmp_path / "results.json").is_file()
