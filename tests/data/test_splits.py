"""Splits that share files or have one class are refused, by name."""

import pathlib
import types

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import splits


def rows(name, *files):
  return types.SimpleNamespace(path=name, files=files)


def test_disjoint_splits_pass():
  train = rows("train.csv", "/a/x.mp4", "/a/y.mp4", "/a/y.mp4", "gs://b/z.mp4")
  splits.check_disjoint(train, rows("val.csv", "/b/x.mp4", "gs://c/z.mp4"))


@pytest.mark.parametrize(
  "file", ["/a/y.mp4", "/a/../a/y.mp4", "/a//y.mp4", "gs://b/z.mp4"]
)
def test_a_shared_file_is_named(file):
  train = rows("train.csv", "/a/x.mp4", "/a/y.mp4", "gs://b/z.mp4")
  with pytest.raises(errors.UserError) as found:
    splits.check_disjoint(train, rows("val.csv", "/a/w.mp4", file))
  row = 2 if "z" in file else 1
  for text in (file, "train.csv", f"(row {row})", "val.csv", "(row 1)"):
    assert text in str(found.value)
  assert "1 files are in both" in str(found.value)


def test_relative_paths_and_linked_folders_are_seen_through(
  tmp_path, monkeypatch
):
  (tmp_path / "videos").mkdir()
  (tmp_path / "other").symlink_to(tmp_path / "videos")
  monkeypatch.chdir(tmp_path)
  train = rows("train.csv", str(tmp_path / "videos" / "x.mp4"))
  for same in ("videos/x.mp4", "other/x.mp4", "./videos/../videos/x.mp4"):
    with pytest.raises(errors.UserError, match="in the test split"):
      splits.check_disjoint(train, rows("val.csv", same))
  splits.check_disjoint(train, rows("val.csv", "x.mp4"))


def test_one_class_is_refused():
  splits.check_classes("train.csv", "label", np.asarray([4, 4, 0]))
  with pytest.raises(errors.UserError) as found:
    splits.check_classes("train.csv", "motion", np.asarray([4, 4, 4]))
  for text in ("only one class in train.csv", "3 rows", "class 4", "'motion'"):
    assert text in str(found.value)


def test_files_that_are_not_there_are_counted(tmp_path):
  files = [str(tmp_path / f"{number}.mp4") for number in range(200)]
  for file in files[4:]:
    pathlib.Path(file).touch()
  many = rows("val.csv", *files, files[0])
  splits.check_present("val", many, 0.02)
  with pytest.raises(errors.UserError) as found:
    splits.check_present("val", many, 0.019)
  for text in ("4 of the 200", "data.val", "val.csv", files[0], "data.root"):
    assert text in str(found.value)
  # Of few files one may be missing, but not all.
  splits.check_present("val", rows("val.csv", *files[3:7]), 0.02)
  with pytest.raises(errors.UserError, match="4 of the 4 files"):
    splits.check_present("val", rows("val.csv", *files[:4]), 0.02)
  splits.check_present("val", rows("val.csv", *files[:4]), 1.0)


def test_of_remote_files_a_few_are_looked_for(monkeypatch):
  """And only where none of these is there something is wrong for certain."""
  files = [f"gs://b/{number}.mp4" for number in range(1000)]
  looked_for = []

  def is_file(path):
    looked_for.append(path)
    return path == there

  monkeypatch.setattr(splits.storage, "is_file", is_file)
  there = files[0]
  splits.check_present("val", rows("val.csv", *files), 0.02)
  there = ""
  with pytest.raises(errors.UserError, match="32 of the 32 files"):
    splits.check_present("val", rows("val.csv", *files), 0.02)
  assert len(looked_for) == 64 and set(looked_for) < set(files)
