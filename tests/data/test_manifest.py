"""Manifests are read as users keep them; errors say what to do."""

import json

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import manifest


def write(tmp_path, text):
  path = tmp_path / "train.csv"
  path.write_text(text)
  return str(path)


def test_separators_and_folders(tmp_path):
  path = write(
    tmp_path,
    "a.mp4 3\nmy clip.mp4,1\nthe, other.mp4\t2\n\na,b.mp4 4\n/abs/c.mp4  0\n",
  )
  rows = manifest.load(path)
  names = ["a.mp4", "my clip.mp4", "the, other.mp4", "a,b.mp4"]
  assert rows.files == (*(str(tmp_path / n) for n in names), "/abs/c.mp4")
  np.testing.assert_array_equal(rows.labels, [3, 1, 2, 4, 0])
  assert rows.labels.dtype == np.int32
  assert (rows.name, len(rows), rows.path) == ("train", 5, path)
  assert manifest.load(path, "/data").files[0] == "/data/a.mp4"


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("", ["empty", "path label"]),
    ("\n \n", ["empty"]),
    ("a.mp4 0\nb.mp4\n", ["line 2", "no label", "'b.mp4'"]),
    ("name,label\na.mp4,0\n", ["first line", "name,label", "header"]),
    ("a.mp4 0\n\nb.mp4 1.5\n", ["line 3", "'1.5'", "'b.mp4 1.5'"]),
    ("a.mp4 -1\n", ["line 1", "-1", "from 0 up"]),
    ("a.mp4 99999999999\n", ["line 1", "out of range"]),
  ],
)
def test_errors_are_one_line_with_the_place(tmp_path, text, parts):
  path = write(tmp_path, text)
  with pytest.raises(ValueError) as caught:
    manifest.load(path)
  message = str(caught.value)
  assert "\n" not in message
  for part in [path, *parts]:
    assert part in message


def test_missing_manifest(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no\.txt.*data\.train"):
    manifest.load(str(tmp_path / "no.txt"))


def test_label_sets(tmp_path):
  rows = manifest.load(write(tmp_path, "a 0\nb 2\nc 1\n"))
  path = tmp_path / "sets.json"
  content = {
    "appearance": {"names": ["x", "y"], "of_label": [0, 1, 1]},
    "motion": {"names": ["u"], "of_label": [0, 0, 0]},
  }
  path.write_text(json.dumps(content))
  labels, names = manifest.load_label_sets(str(path), rows)
  assert names == {"appearance": ("x", "y"), "motion": ("u",)}
  np.testing.assert_array_equal(labels["appearance"], [0, 1, 1])
  np.testing.assert_array_equal(labels["motion"], [0, 0, 0])
  assert labels["motion"].dtype == np.int32


@pytest.mark.parametrize("name", ["", "sets.json"])
def test_rows_without_a_class_have_no_label_set(tmp_path, name):
  rows = manifest.load(write(tmp_path, "a.mp4 0\nb.mp4 0 -1\n"), classes=False)
  with pytest.raises(ValueError, match=r"train\.csv has rows without a class"):
    manifest.load_label_sets(name, rows)


def test_no_label_sets_means_the_label(tmp_path):
  rows = manifest.load(write(tmp_path, "a 0\nb 2\n"))
  labels, names = manifest.load_label_sets("", rows)
  np.testing.assert_array_equal(labels["label"], [0, 2])
  assert names == {"label": ("0", "1", "2")}


@pytest.mark.parametrize(
  ("text", "part"),
  [
    ("{", "not JSON"),
    ("[]", "needs"),
    ('{"m": {"names": []}}', "'of_label'"),
    ('{"m": {"names": 3, "of_label": []}}', "must be lists"),
    ('{"m": {"names": ["u"], "of_label": [0, 1]}}', "of_label[1] is 1"),
    ('{"m": {"names": ["u"], "of_label": [0]}}', "has label 2"),
  ],
)
def test_label_set_errors(tmp_path, text, part):
  rows = manifest.load(write(tmp_path, "a 0\nb 2\n"))
  path = tmp_path / "sets.json"
  path.write_text(text)
  with pytest.raises(ValueError) as caught:
    manifest.load_label_sets(str(path), rows)
  assert part in str(caught.value)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_missing_label_sets(tmp_path):
  rows = manifest.load(write(tmp_path, "a 0\n"))
  with pytest.raises(FileNotFoundError, match="no such file"):
    manifest.load_label_sets(str(tmp_path / "no.json"), rows)


def test_label_sets_of_another_data_set_are_refused(tmp_path):
  """The same file, or a copy, is where the manifest is or one above."""
  folders = [tmp_path / name for name in ("toy", "toy/part", "mine", "copied")]
  for folder in folders:
    folder.mkdir()
  sets = tmp_path / "toy" / "label_sets.json"
  text = json.dumps({"m": {"names": ["u"], "of_label": [0, 0, 0]}})
  for folder in (folders[0], folders[3]):
    (folder / "label_sets.json").write_text(text)
  found = {}
  for folder in folders:
    rows = manifest.load(write(folder, "a 0\nb 2\n"))
    found[folder.name] = manifest.are_of(str(sets), rows.path)
  assert found == {"toy": True, "part": True, "mine": False, "copied": True}
  assert manifest.are_of(str(sets), str(folders[3]))  # records
  (folders[3] / "label_sets.json").write_text(text.replace("u", "v"))
  assert not manifest.are_of(str(sets), rows.path)
  assert not manifest.are_of(str(tmp_path / "no.json"), rows.path)
  with pytest.raises(errors.UserError) as caught:
    manifest.load_label_sets(str(sets), rows)
  for part in (str(sets), rows.path, "--config.data.label_sets=", "copy them"):
    assert part in str(caught.value)
  assert "\n" not in str(caught.value)


def test_linked_and_relative_folders_hold_label_sets(tmp_path, monkeypatch):
  folder = tmp_path / "data"
  folder.mkdir()
  (folder / "label_sets.json").write_text("{}")
  write(folder, "a 0\n")
  (tmp_path / "link").symlink_to(folder)
  monkeypatch.chdir(tmp_path)
  for here in ("data", "link", "./data/../link"):
    name = write(folder, "a 0\n").split("/")[-1]
    assert manifest.are_of("data/label_sets.json", f"{here}/{name}")
  monkeypatch.chdir(folder)
  assert manifest.are_of("label_sets.json", name)


def test_numbers_that_are_no_classes(tmp_path):
  """Such as of videos: the head would be of millions of classes."""
  rows = manifest.load(write(tmp_path, "a 0\nb 20231105\n"))
  with pytest.raises(errors.UserError, match="has label 20231105"):
    manifest.load_label_sets("", rows)
