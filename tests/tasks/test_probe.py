"""What tasks check before anything long begins."""

import json

import jax
import numpy as np
import pytest

from sigma_jax import errors, settings
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
    return settings.Settings(data=settings.Data(**paths, **data))

  return make


def test_classes_of_both_splits_are_counted(config_of):
  """A class that only one split has still has its own number."""
  train, val = ["a.mp4 0", "b.mp4 5"], ["c.mp4 2"]
  for first, second in ((train, val), (val + ["d.mp4 0"], train)):
    opened, labels, count = probe.open_splits(config_of(first, second))
    assert count == {"label": 6}
    assert [len(opened[name]) for name in ("train", "val")] == [
      len(first), len(second)
    ]  # fmt: skip
    np.testing.assert_array_equal(
      labels["train"]["label"], opened["train"].labels
    )


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


def test_an_interrupted_probe_goes_on(
  tiny, change, toy_clips, tmp_path, monkeypatch
):
  init = tmp_path / "init"
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(init, tiny, params, step=7)
  config = change(
    settings.Settings(),
    task="probe",
    init=str(init),
    data__train=str(toy_clips / "train.csv"),
    data__val=str(toy_clips / "val.csv"),
    data__label_sets=str(toy_clips / "label_sets.json"),
    data__workers=1,
    probe__batch_size=8,
    probe__bootstrap=50,
  )
  monkeypatch.setattr(predictions, "PART_ROWS", 2)  # so that a part has 16
  real, read = reading.evaluate, []

  def interrupted(config, workdir, source, **options):
    read.append(len(source))
    if len(read) == 2:
      raise KeyboardInterrupt
    return real(config, workdir, source, **options)

  probe.run(config, tmp_path / "whole")
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
