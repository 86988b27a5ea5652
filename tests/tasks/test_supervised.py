"""Fine-tuning and probes from files to results, on a few toy clips."""

import hashlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.data.toy import multilabel, repetitions
from sigma_jax.evaluate import predictions, verdicts
from sigma_jax.models import sigma
from sigma_jax.tasks import reading, supervised
from sigma_jax.train import checkpoint, identity, metrics


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)


def results(workdir):
  return json.loads((workdir / "results.json").read_text())


def parts(workdir, name="test"):
  files = sorted((workdir / name).glob("*.npz"))
  loaded = [np.load(file) for file in files]
  return predictions.Predictions(
    np.concatenate([p["values"] for p in loaded], axis=1),
    *(np.concatenate([p[k] for p in loaded]) for k in ("rows", "views")),
  )


def contents(folder: pathlib.Path):
  return {
    str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
    for f in sorted(folder.rglob("*"))
    if f.is_file()
  }


@pytest.fixture(scope="module", name="tuned")
def tuned_fixture(base, change, init, tmp_path_factory):
  """The workdir of a fine-tuning."""
  workdir = tmp_path_factory.mktemp("tuned")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(metrics, "_tensorboard", lambda workdir: None)
    supervised.run(change(base, init=str(init)), workdir)
  return workdir


def test_results_tell_what_was_judged_and_how(tuned, base, init):
  found = results(tuned)
  assert found["init"] == str(init) and found["step"] == 7
  assert found["seed"] == base.seed and found["views"] == 6
  (row,) = found["rows"]
  assert row["protocol"] == "finetune" and row["encoder"] == "pretrained"
  assert row["label_set"] == "motion" and row["metric"] == "top1"
  assert (row["num_train"], row["num_test"], row["num_clips"]) == (40, 12, 72)
  assert row["low"] <= row["top1"] <= row["high"]
  assert len(row["view_top1"]) == 6
  assert (tuned / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_only_what_it_was_begun_from_goes_on(
  tuned, base, change, init, tiny, tmp_path
):
  other = tmp_path / "other"
  params = sigma.init_params(tiny, jax.random.key(6))
  checkpoint.write_params(other, tiny, params, step=7)
  turned = tmp_path / "train.csv"
  lines = pathlib.Path(base.data.train).read_text().splitlines()
  folder = pathlib.Path(base.data.train).parent
  turned.write_text("".join(f"{folder / x}\n" for x in reversed(lines)))
  shutil.copy(base.data.label_sets, tmp_path)  # they have to lie beside it
  before = contents(tuned)
  for changes, words in (
    ({"init": str(other)}, rf"init \(step 7 of {init} there, step 7 of"),
    ({"init": ""}, r"random weights here"),
    ({"data__train": str(turned)}, r"data\.train \(40 rows of .* there, 40"),
    ({"supervised__label_set": "appearance"}, r"labels of data\.train \("),
  ):
    with pytest.raises(errors.UserError, match=words):
      supervised.run(change(base, **({"init": str(init)} | changes)), tuned)
  assert contents(tuned) == before
  moved = tmp_path / "moved"
  shutil.copytree(init, moved)
  supervised.run(change(base, init=str(moved)), tuned)
  assert results(tuned)["init"] == str(moved)
  assert results(tuned)["identity"] == results_identity(init)
  supervised.run(change(base, init=str(init)), tuned)


def results_identity(init):
  params, _ = checkpoint.restore_params(init)
  return identity.of_weights(params["encoder"])


def test_views_are_averaged_as_by_hand(tuned, base):
  found, row = parts(tuned), results(tuned)["rows"][0]
  assert found.values.shape[:2] == (1, 72)
  np.testing.assert_array_equal(found.views, np.tile(np.arange(6), 12))
  mean = found.values[0].reshape(12, 6, -1).mean(axis=1)
  lines = pathlib.Path(base.data.val).read_text().splitlines()
  sets = json.loads(pathlib.Path(base.data.label_sets).read_text())
  truth = [sets["motion"]["of_label"][int(line.split()[-1])] for line in lines]
  assert row["top1"] == pytest.approx((mean.argmax(axis=1) == truth).mean())


@pytest.mark.parametrize("batch_size", [40, 5])
def test_batch_size_and_devices_change_no_prediction(
  tuned, base, change, init, tmp_path, batch_size
):
  """Trained elsewhere: here only the test is done again.

  Eight devices do not divide a batch of five, which is filled up.
  """
  copy = tmp_path / "copy"
  shutil.copytree(tuned, copy)
  shutil.rmtree(copy / "test")
  config = change(base, init=str(init), supervised__test_batch_size=batch_size)
  supervised.run(config, copy)
  np.testing.assert_allclose(parts(copy).values, parts(tuned).values, atol=1e-5)


def test_the_same_again_reads_nothing(
  tuned, base, change, init, monkeypatch, tmp_path
):
  monkeypatch.setattr(
    reading, "evaluate", lambda *_, **__: pytest.fail("read again")
  )
  before = results(tuned)
  supervised.run(change(base, init=str(init)), tuned)
  assert results(tuned) == before


def test_an_interrupted_test_goes_on(
  tuned, base, change, init, monkeypatch, tmp_path
):
  copy = tmp_path / "copy"
  shutil.copytree(tuned, copy)
  shutil.rmtree(copy / "test")
  (copy / "results.json").unlink()
  monkeypatch.setattr(predictions, "PART_ROWS", 5)
  real, read = reading.evaluate, []

  def interrupted(config, workdir, source, **options):
    read.append(len(source))
    if len(read) == 2:
      raise KeyboardInterrupt
    return real(config, workdir, source, **options)

  monkeypatch.setattr(reading, "evaluate", interrupted)
  config = change(base, init=str(init))
  with pytest.raises(KeyboardInterrupt):
    supervised.run(config, copy)
  assert not (copy / "results.json").exists()
  supervised.run(config, copy)
  assert read == [5, 5, 5, 2]
  assert results(copy)["rows"] == results(tuned)["rows"]


def test_a_fine_tuned_model_is_a_checkpoint(tuned, base, tmp_path):
  """As an encoder, as a .pth, and as the start of another evaluation."""
  model = sigma_jax.load(tuned)
  video = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  found = model.encode(video)
  assert model.kind == "finetune" and found.tokens.shape == (2, 32, 32)
  trained, _ = checkpoint.restore_params(tuned)
  logits = found.pooled @ trained["head"]["kernel"] + trained["head"]["bias"]
  assert logits.shape[0] == 2 and np.isfinite(logits).all()


def test_a_probe_changes_nothing_but_heads(
  base, change, init, tmp_path, capsys
):
  before = contents(init)
  config = change(
    base,
    init=str(init),
    supervised__trains="head",
    supervised__pooling="attentive",
    optimizer__weight_decay_end=1e-6,
    supervised__rates=(0.5, 2.0),
    supervised__views=(1, 1),
  )
  supervised.run(config, tmp_path)
  assert contents(init) == before
  saved, _ = checkpoint.restore_params(tmp_path)
  assert saved.keys() == {"pool", "head"}
  found = results(tmp_path)
  rates = found["rates"]
  assert [entry["rate"] for entry in rates] == [0.5, 2.0]
  assert rates[0]["holdout"]["num_test"] == 4  # a tenth of 40
  assert found["rows"][0]["num_train"] == 36
  best = max(rates, key=lambda entry: entry["holdout"]["top1"])
  assert found["rows"][0]["top1"] == best["test"]["top1"]
  assert found["rows"][0]["protocol"] == "attentive"
  assert "attentive, pretrained: top-1" in capsys.readouterr().out
  with pytest.raises(errors.UserError, match="holds heads alone"):
    supervised.run(change(base, init=str(tmp_path)), tmp_path / "next")


def test_repetitions_are_counted_over_windows(
  base, change, tmp_path_factory, tmp_path
):
  folder = tmp_path_factory.mktemp("counts") / "set"
  repetitions.main(
    ["--out", str(folder), "--train=6", "--val=3", "--workers=1"]
  )
  config = change(
    base,
    data__train=str(folder / "train.csv"),
    data__val=str(folder / "val.csv"),
    data__label_sets="",
    supervised__targets="count",
    supervised__train_targets=str(folder / "train_repetitions.jsonl"),
    supervised__val_targets=str(folder / "val_repetitions.jsonl"),
    supervised__label_set="",
  )
  supervised.run(config, tmp_path)
  found = results(tmp_path)
  (row,) = found["rows"]
  assert row["metric"] == "error" and row["encoder"] == "random"
  assert row["num_test"] == 3 and row["num_train"] == 6
  values = parts(tmp_path)
  lines = (folder / "val_repetitions.jsonl").read_text().splitlines()
  counts = [json.loads(line)["count"] for line in lines]
  # A video's windows follow each other, as many as its part is long.
  spans = [json.loads(line) for line in lines]
  stride = 4 * config.data.stride
  windows = [
    -(-(s["end_frame"] - s["start_frame"] + 1) // stride) for s in spans
  ]
  assert sum(windows) == values.values.shape[1] == row["num_clips"]
  sums = [
    part.sum()
    for part in np.split(values.values[0, :, 0], np.cumsum(windows)[:-1])
  ]
  wanted = np.mean(np.abs(np.subtract(np.rint(sums), counts)) / counts)
  assert row["error"] == pytest.approx(wanted, rel=1e-5)
  wanted = np.mean(np.abs(np.subtract(sums, counts)) / counts)
  assert row["error_unrounded"] == pytest.approx(wanted, rel=1e-5)


def test_several_labels_and_the_greatest_view(
  base, change, toy_clips, tmp_path_factory, tmp_path
):
  folder = tmp_path_factory.mktemp("several") / "set"
  multilabel.main(["--toy", str(toy_clips), "--out", str(folder)])
  config = change(
    base,
    data__train=str(folder / "train.csv"),
    data__val=str(folder / "val.csv"),
    data__label_sets="",
    supervised__targets="multilabel",
    supervised__train_targets=str(folder / "train_labels.npz"),
    supervised__val_targets=str(folder / "val_labels.npz"),
    supervised__label_set="",
    supervised__views=(2, 1),
  )
  supervised.run(config, tmp_path)
  (row,) = results(tmp_path)["rows"]
  assert row["metric"] == "map" and 0 < row["low"] <= row["map"] <= row["high"]
  values = parts(tmp_path).values[0]
  labels = np.load(folder / "val_labels.npz")
  truth = np.zeros((12, len(labels["classes"])), bool)
  truth[labels["row"], labels["label"]] = True
  by_hand = verdicts.scores.mean_average_precision(
    values.reshape(12, 2, -1).max(axis=1), truth
  )
  assert row["map"] == pytest.approx(by_hand)


def test_a_test_of_which_nothing_was_read_ends_in_a_line(
  tuned, base, change, init, tmp_path, monkeypatch
):
  """As all files could be lost while it trained."""
  copy = tmp_path / "copy"
  shutil.copytree(tuned, copy)
  none = np.zeros(0, np.int32)
  empty = predictions.Predictions(np.zeros((1, 0, 4)), none, none)
  monkeypatch.setattr(predictions, "in_parts", lambda *_, **__: empty)
  with pytest.raises(errors.RunStopped, match=r"no clip could be read; see"):
    supervised.run(change(base, init=str(init)), copy)
