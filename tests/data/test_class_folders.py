"""A folder of class folders in the place of a list."""

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import class_folders, labels, prepare, sources
from sigma_jax.tasks import probe


@pytest.fixture(name="make")
def make_fixture(tmp_path):
  """`make("train", "a/1.mp4", ...)`: a folder of empty files; its path."""

  def make(name, *files):
    for file in files:
      path = tmp_path / name / file
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
    return str(tmp_path / name)

  return make


def test_folders_are_the_classes(make):
  path = make(
    "x", "sit/2.mp4", "run, fast/a.MKV", "sit/deep/1.mp4", "sit/n.txt"
  )
  rows = class_folders.load(path)
  names = ["run, fast/a.MKV", "sit/2.mp4", "sit/deep/1.mp4"]
  assert rows.files == tuple(f"{path}/{name}" for name in names)
  assert rows.classes == ("run, fast", "sit")
  assert rows.labels.tolist() == [0, 1, 1]
  assert rows.labels.dtype == np.int32


@pytest.mark.parametrize(
  "files",
  [
    ("1.mp4", "a/2.mp4", "b/3.mp4"),  # one lies outside
    ("a/1.mp4", "a/2.mp4"),  # nothing to tell apart
    ("1.mp4",),
  ],
)
def test_folders_without_classes(make, files):
  path = make("x", *files)
  assert (class_folders.load(path).labels == -1).all()
  assert class_folders.load(path).classes == ()
  with pytest.raises(errors.UserError, match="has no class folders"):
    class_folders.load(path, classes=True)


def test_numbers_are_class_indices_as_in_lists(make):
  rows = class_folders.load(make("x", "10/a.mp4", "2/b.mp4", "0/c.mp4"), True)
  assert rows.classes == ()
  assert rows.labels.tolist() == [0, 10, 2]


def test_a_folder_serves_where_a_list_does(make):
  path = make("x", "a/1.mp4", "b/2.mp4")
  for classes in (False, True):
    source = sources.load(path, classes=classes)
    assert source.labels.tolist() == [0, 1] and source.classes == ("a", "b")
  with pytest.raises(errors.UserError, match="no videos in"):
    sources.load(make("empty", "a/n.txt"))


def test_records_of_a_folder_keep_its_classes(make):
  rows = prepare._rows(make("x", "1/1.mp4", "b/2.mp4"), "")
  assert rows.labels.tolist() == [0, 1] and rows.classes == ("1", "b")
  assert prepare._rows(make("y", "1/1.mp4", "2/2.mp4"), "").labels.max() == 2


@pytest.fixture(name="config")
def config_fixture(tiny, change):
  return lambda train, val, **more: change(
    tiny, data__train=train, data__val=val, **more
  )


def opened(config, change):
  """What the probe and what a training with labels make of it."""
  found, of_rows, count = probe.open_splits(config)
  run = change(config, task="supervised")
  both = labels.load_both(run)
  for split, other in zip(("train", "val"), both, strict=True):
    np.testing.assert_array_equal(of_rows[split]["label"], other.values)
    assert found[split].files == other.source.files
    assert len(other.names) == count["label"]
  return both


def test_a_test_folder_counts_as_the_training_folder_does(make, config, change):
  train = make("train", "a/1.mp4", "b/2.mp4", "c/3.mp4")
  val = make("val", "a/4.mp4", "c/5.mp4")
  both = opened(config(train, val), change)
  assert both[1].values.tolist() == [0, 2]
  assert both[0].names == both[1].names == ("a", "b", "c")
  numbers = [make(n, "0/1.mp4", f"{n[-1]}/2.mp4") for n in ("of 3", "of 1")]
  # Numbers are what they say, whatever the other split has.
  for pair in ((train, numbers[0]), (numbers[0], train)):
    with pytest.raises(errors.UserError, match=r"'0', which|classes by name"):
      opened(config(*pair), change)
  make("of 1", "3/3.mp4")
  both = opened(config(*numbers), change)
  assert both[1].values.tolist() == [0, 1, 3]


def test_other_classes_are_refused(make, config, change):
  train = make("train", "a/1.mp4", "b/2.mp4")
  val = config(train, make("val", "a/4.mp4", "z/5.mp4"))
  for load in (probe.open_splits, labels.load_both):
    with pytest.raises(errors.UserError, match="'z', which the training split"):
      load(val)


def test_a_list_beside_a_folder_is_refused(make, config, tmp_path):
  train = make("train", "a/1.mp4", "b/2.mp4")
  make("", "c.mp4", "d.mp4")
  (tmp_path / "val.csv").write_text("c.mp4 0\nd.mp4 1\n")
  for pair in ((train, f"{tmp_path}/val.csv"), (f"{tmp_path}/val.csv", train)):
    for load in (probe.open_splits, labels.load_both):
      with pytest.raises(errors.UserError, match="classes by name"):
        load(config(*pair))
