"""What tasks check before anything long begins."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from sigma_jax import errors, files, settings, tasks
from sigma_jax.evaluate import predictions
from sigma_jax.models import sigma
from sigma_jax.tasks import probe, reading
from sigma_jax.train import checkpoint


@pytest.fixture
def config_of(tmp_path):
  """`config_of(train, val)`: settings with manifests of these lines."""

  def make(train, val, **data):
    for name, lines in (("train", train), ("val", val)):
      (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    paths = {n: str(tmp_path / f"{n}.csv") for n in ("train", "val")}
    # The files that the lines name are not there.
    data = {"max_bad_share": 1.0} | data
    return settings.Settings(data=settings.Data(**paths, **data))

  return make


def test_classes_of_both_splits_are_counted(config_of):
  """A class that only one split has still has its own number."""
  train, val = ["a.mp4 0", "b.mp4 5"], ["c.mp4 2", "e.mp4 5"]
  for first, second in ((train, val), (val + ["d.mp4 0"], train)):
    opened, labels, count = probe.open_splits(config_of(first, second))
    assert count == {"label": 6}
    assert [len(opened[name]) for name in ("train", "val")] == [
      len(first), len(second)
    ]  # fmt: skip
    np.testing.assert_array_equal(
      labels["train"]["label"], opened["train"].labels
    )


def test_splits_without_a_class_in_common_are_refused(config_of, tmp_path):
  """Of any label set; before a video is looked for."""
  config = config_of(["a.mp4 0", "b.mp4 1"], ["c.mp4 2", "d.mp4 3"])
  with pytest.raises(errors.UserError, match=r"no class of .*val.*train.*2, 3"):
    probe.open_splits(config)
  sets = {
    "one": {"names": ["x", "y"], "of_label": [0, 1, 0, 1]},
    "other": {"names": ["x", "y", "z"], "of_label": [0, 1, 2, 2]},
  }
  (tmp_path / "sets.json").write_text(json.dumps(sets))
  data = dataclasses.replace(
    config.data, label_sets=str(tmp_path / "sets.json")
  )
  with pytest.raises(errors.UserError, match="label set 'other'"):
    probe.open_splits(dataclasses.replace(config, data=data))


def test_labels_that_are_ids_are_refused(config_of):
  """Before anything is computed: a table of so many classes fits nowhere."""
  for top in (40_000_000, 1_200, 2**31 - 1):
    rows = [f"{i}.mp4 {top // 2 * i}" for i in range(3)]
    with pytest.raises(errors.UserError) as caught:
      probe.open_splits(config_of(rows, ["c.mp4 0"]))
    for part in (str(top // 2 * 2), "train.csv", "3 classes", "0 to 2"):
      assert part in str(caught.value)
  # Few-shot lists of large data sets have gaps.
  some = [f"{i}.mp4 {7 * i}" for i in range(100)]
  assert probe.open_splits(config_of(some, ["c.mp4 7"]))[2] == {"label": 694}


@pytest.mark.parametrize(
  ("classes", "words"),
  [
    ([0, 1, 2, 1], None),
    ([1, 2, 3], "no row has 1 of these numbers: 0; are they numbered from 1?"),
    (
      [0, 9],
      "go up to 9, but no row has 8 of these numbers: 1, 2, 3, 4, 5, ...",
    ),
  ],
)
def test_numbers_that_no_training_row_has_are_told(capsys, classes, words):
  reading.warn_gaps("train.csv", np.array(classes))
  out = capsys.readouterr().out
  assert (words is None) == (not out)
  assert words is None or (words in out and "train.csv" in out)


def test_a_file_in_both_splits_is_refused(config_of):
  config = config_of(["a.mp4 0", "b.mp4 1"], ["c.mp4 0", "b.mp4 1"])
  with pytest.raises(errors.UserError, match=r"b\.mp4 is in the training"):
    probe.open_splits(config)


def test_one_class_is_refused(config_of, tmp_path):
  with pytest.raises(errors.UserError, match=r"only one class in .*train\.csv"):
    probe.open_splits(config_of(["a.mp4 1", "b.mp4 1"], ["c.mp4 0"]))
  sets = {
    "both": {"names": ["x", "y"], "of_label": [0, 1]},
    "same": {"names": ["x", "y"], "of_label": [1, 1]},
  }
  path = tmp_path / "sets.json"
  path.write_text(json.dumps(sets))
  config = config_of(["a.mp4 0", "b.mp4 1"], ["c.mp4 0"], label_sets=str(path))
  with pytest.raises(errors.UserError, match="label set 'same'"):
    probe.open_splits(config)


def test_what_only_the_test_needs_is_looked_at_first(config_of, tmp_path):
  """Test files that are not there, before features of all training clips."""
  config = config_of(["a.mp4 0", "b.mp4 1"], ["c.mp4 0"], max_bad_share=0.02)
  with pytest.raises(errors.UserError, match=r"1 of the 1 files looked for"):
    probe.open_splits(config)
  with pytest.raises(errors.UserError, match=r"data\.val is not set"):
    probe.open_splits(
      settings.Settings(data=dataclasses.replace(config.data, val=""))
    )


def test_classes_that_only_test_rows_have_are_told(capsys):
  train, test = np.array([0, 2, 0]), np.array([0, 1, 3, 2])
  reading.warn_unseen("val.csv", train, test, tuple("abcd"))
  out = capsys.readouterr().out
  assert out == (
    "warning: 2 of the 4 classes are in val.csv but in no training row, so "
    "they will never be told: b, d\n"
  )
  several = np.eye(4, dtype=bool)
  reading.warn_unseen("val.csv", several[:3], several, tuple("abcd"))
  assert "1 of the 4 classes" in capsys.readouterr().out
  reading.warn_unseen("val.csv", test, train, tuple("abcd"))
  assert not capsys.readouterr().out


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_the_encoder_does_not_have(
  tiny, change, tmp_path, config_of, layer
):
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(tmp_path / "init", tiny, params, step=7)
  config = change(
    config_of(["a.mp4 0", "b.mp4 1"], ["c.mp4 0"]),
    task="probe",
    init=str(tmp_path / "init"),
    probe__layer=layer,
  )
  with pytest.raises(
    errors.UserError, match=r"probe\.layer must lie in 0 .. 2"
  ):
    probe.run(config, tmp_path / "probe")


def test_a_workdir_that_nothing_can_be_written_to(tmp_path, monkeypatch):
  """Root may write anywhere, so the disk has to say no."""

  def full(path, content):
    raise OSError(28, "No space left on device", str(path))

  monkeypatch.setattr(files, "write_whole", full)
  with pytest.raises(errors.UserError, match=r"cannot be written to.*No space"):
    tasks.run(settings.Settings(task="probe"), tmp_path)


@pytest.fixture(name="config")
def config_fixture(tiny, change, toy_clips, tmp_path, monkeypatch):
  """A probe whose manifests may be written anew; a part has 16 rows."""
  init = tmp_path / "init"
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(init, tiny, params, step=7)
  for name in ("train.csv", "val.csv", "label_sets.json"):
    shutil.copy(toy_clips / name, tmp_path)
  monkeypatch.setattr(predictions, "PART_ROWS", 2)
  return change(
    settings.Settings(),
    task="probe",
    init=str(init),
    data__train=str(tmp_path / "train.csv"),
    data__val=str(tmp_path / "val.csv"),
    data__root=str(toy_clips),
    data__label_sets=str(tmp_path / "label_sets.json"),
    data__workers=1,
    probe__batch_size=8,
    probe__bootstrap=50,
  )


@pytest.fixture(name="read")
def read_fixture(monkeypatch):
  """Lengths of the parts that are computed, in order."""
  real, read = reading.evaluate, []

  def note(config, workdir, source, **options):
    read.append(len(source))
    return real(config, workdir, source, **options)

  monkeypatch.setattr(reading, "evaluate", note)
  return read


def results(workdir):
  return json.loads((workdir / "results.json").read_text())["rows"]


def test_features_are_those_of_the_rows_and_not_of_a_manifests_name(
  config, read, tmp_path
):
  """The same rows in reverse order, then a clip that was written anew."""
  workdir = tmp_path / "probe"
  probe.run(config, workdir)
  before = results(workdir)
  assert read == [16, 16, 8, 12]
  read.clear()
  probe.run(config, workdir)
  assert read == []
  manifest = tmp_path / "val.csv"
  lines = manifest.read_text().splitlines()
  manifest.write_text("\n".join(lines[::-1]) + "\n")
  probe.run(config, workdir)
  assert read == [12]
  for now, then in zip(results(workdir), before, strict=True):
    assert now["top1"] == pytest.approx(then["top1"]), now
  read.clear()
  # Under the name of the second row of the third part; the clip is another's.
  root = tmp_path / "videos"
  shutil.copytree(config.data.root, root)
  config = dataclasses.replace(
    config, data=dataclasses.replace(config.data, root=str(root))
  )
  probe.run(config, workdir)
  assert read == [16, 16, 8, 12]
  read.clear()
  names = [
    line.rsplit(",", 1)[0].rsplit(" ", 1)[0]
    for line in (tmp_path / "train.csv").read_text().splitlines()
  ]
  shutil.copyfile(root / names[0], root / names[33])
  probe.run(config, workdir)
  assert read == [8]


def test_an_interrupted_probe_goes_on(config, change, tmp_path, monkeypatch):
  real, read = reading.evaluate, []

  def interrupted(config, workdir, source, **options):
    read.append(len(source))
    if len(read) == 2:
      raise KeyboardInterrupt
    return real(config, workdir, source, **options)

  # Seven on eight devices: filled up, and the same.
  probe.run(change(config, probe__batch_size=7), tmp_path / "whole")
  monkeypatch.setattr(reading, "evaluate", interrupted)
  with pytest.raises(KeyboardInterrupt):
    probe.run(config, tmp_path / "broken")
  probe.run(config, tmp_path / "broken")
  assert read == [16, 16, 16, 8, 12]
  whole, broken = (
    json.loads((tmp_path / name / "results.json").read_text())["rows"]
    for name in ("whole", "broken")
  )
  assert whole == broken
  assert {row["encoder"] for row in whole} == {"pretrained", "random"}
  # Two clips of each training video; the second is another place in it.
  part = np.load(tmp_path / "whole" / "features" / "train" / "00000000.npz")
  assert part["values"].shape == (2, 32, 32)
  np.testing.assert_array_equal(part["rows"], np.repeat(np.arange(16), 2))
