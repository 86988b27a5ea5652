"""Classes by name mean the same in training and in every test of it."""

import json

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import labels
from sigma_jax.tasks import probe, supervised

TRAIN = "a.mp4 wave\nb.mp4 clap\nc.mp4 jump high\nd.mp4 wave\n"
VAL = "e.mp4 wave\nf.mp4 jump high\n"


class Stopped(Exception):
  """Where the costly part would begin."""


@pytest.fixture(name="run_of")
def run_of_fixture(base, change, tmp_path):
  """`run_of("train.csv", "val.csv")`: settings of a fine-tuning by name."""
  for name in "abcdef":
    (tmp_path / f"{name}.mp4").touch()
  (tmp_path / "train.csv").write_text(TRAIN)
  (tmp_path / "val.csv").write_text(VAL)

  def run_of(train, val, **changes):
    return change(
      base,
      data__train=str(tmp_path / train),
      data__val=str(tmp_path / val),
      data__label_sets="",
      supervised__label_set="",
      **changes,
    )

  return run_of


def begun(config, workdir, monkeypatch):
  """Both splits as a fine-tuning has them when it begins to train."""
  seen = []

  def stop(task, model, train, workdir, profile_steps):
    seen.append(train)
    raise Stopped

  both = []
  real = labels.load_both
  monkeypatch.setattr(
    labels, "load_both", lambda *args: both.append(real(*args)) or both[-1]
  )
  monkeypatch.setattr(supervised, "_train", stop)
  monkeypatch.setattr(supervised.reading, "check", lambda *a, **k: None)
  with pytest.raises(Stopped):
    supervised.run(config, workdir)
  monkeypatch.setattr(labels, "load_both", real)
  assert seen[0].names == both[0][0].names
  return both[0]


def test_the_workdir_keeps_the_names(run_of, tmp_path, monkeypatch, capsys):
  config, workdir = run_of("train.csv", "val.csv"), tmp_path / "run"
  train, val = begun(config, workdir, monkeypatch)
  names = ("clap", "jump high", "wave")
  assert train.names == val.names == names
  assert train.values.tolist() == [2, 0, 1, 2] and val.values.tolist() == [2, 1]
  said = capsys.readouterr().out
  assert "train.csv: 2 columns: path, label; 3 classes by name: clap" in said
  assert "val.csv: 2 columns: path, label; 2 classes by name: jump high" in said
  # Before the first step: a killed run has it.
  assert json.loads((workdir / "class_names.json").read_text()) == list(names)
  # A list that has lost a class since does not renumber the others.
  (tmp_path / "train.csv").write_text(TRAIN.replace("b.mp4 clap\n", ""))
  train, val = begun(config, workdir, monkeypatch)
  assert train.names == names and train.num_outputs == 3
  assert train.values.tolist() == [2, 1, 2] and val.values.tolist() == [2, 1]
  # Another folder knows nothing of it.
  train, _ = begun(config, tmp_path / "other", monkeypatch)
  assert train.values.tolist() == [1, 0, 1]


@pytest.mark.parametrize("form", ["lines", "table", "folder"])
def test_a_class_that_training_lacks_is_named(form, run_of, tmp_path):
  (tmp_path / "strange.csv").write_text("e.mp4 wave\nf.mp4 yawn\n")
  if form == "table":
    text = "path,label\ne.mp4,wave\nf.mp4,yawn\n"
    (tmp_path / "strange.csv").write_text(text)
  if form == "folder":
    (tmp_path / "strange.csv").unlink()
    for name in ("wave", "yawn"):
      (tmp_path / "strange.csv" / name).mkdir(parents=True)
      (tmp_path / "strange.csv" / name / f"{name}.mp4").touch()
  config = run_of("train.csv", "strange.csv")
  for load in (labels.load_both, probe.open_splits):
    with pytest.raises(errors.UserError) as caught:
      load(config)
    message = str(caught.value)
    assert "'yawn'" in message and "strange.csv" in message
    assert "which the training split lacks: it has clap, jump high" in message
    assert "\n" not in message


def test_names_beside_numbers_are_refused(run_of, tmp_path):
  (tmp_path / "numbers.csv").write_text("e.mp4 0\nf.mp4 1\n")
  for pair in (("train.csv", "numbers.csv"), ("numbers.csv", "train.csv")):
    for load in (labels.load_both, probe.open_splits):
      with pytest.raises(errors.UserError, match=r"by name, and .*by number"):
        load(run_of(*pair))


def test_a_head_says_what_its_classes_are_called(run_of, tmp_path):
  config = run_of(
    "",
    "val.csv",
    supervised__head=str(tmp_path / "head"),
    supervised__trains="head",
    supervised__pooling="attentive",
  )
  both = labels.load_both(config, ("wave", "x", "jump high"))
  assert both[0] is both[1] and both[0].values.tolist() == [0, 2]
  with pytest.raises(errors.UserError, match="number them as it does"):
    labels.load_both(config)


def test_probes_count_alike(run_of, tmp_path, monkeypatch, tiny, change):
  workdir = tmp_path / "probe"
  config = change(run_of("train.csv", "val.csv"), task="probe")
  found = []

  def stop(*args):
    raise Stopped

  real = probe.open_splits
  monkeypatch.setattr(
    probe, "open_splits", lambda *a: found.append(real(*a)) or found[-1]
  )
  monkeypatch.setattr(probe, "_features", stop)
  monkeypatch.setattr(probe.reading, "check", lambda *a, **k: None)
  for _ in range(2):
    with pytest.raises(Stopped):
      probe._rows(config, {}, workdir)
    (tmp_path / "train.csv").write_text(TRAIN.replace("b.mp4 clap\n", ""))
  names = ["clap", "jump high", "wave"]
  assert json.loads((workdir / "class_names.json").read_text()) == names
  values = [one[1]["train"]["label"].tolist() for one in found]
  assert values == [[2, 0, 1, 2], [2, 1, 2]]
  for one in found:
    np.testing.assert_array_equal(one[1]["val"]["label"], [2, 1])
    assert one[2] == {"label": 3}
