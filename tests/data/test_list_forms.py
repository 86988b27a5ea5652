"""Every form of a list gives the right rows, or one line that says why not."""

import json

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sigma_jax import errors
from sigma_jax.data import list_lines, manifest, sources
from sigma_jax.settings.data import Reading

W = None  # all of a file
ROWS = {
  # name: text, files, labels, classes, windows
  "path label": ("a.mp4 3\nb c.mp4 0\n", ["a.mp4", "b c.mp4"], [3, 0], (), W),
  "names": (
    "a.mp4 wave\nb.mp4 clap, loud\nc d.mp4 wave\n",
    *(["a.mp4", "b.mp4", "c d.mp4"], [1, 0, 1], ("clap, loud", "wave"), W),
  ),
  "names with a comma": (
    'a.mp4,wave\n"b,c.mp4","clap, loud"\n',
    *(["a.mp4", "b,c.mp4"], [1, 0], ("clap, loud", "wave"), W),
  ),
  "names with numbers and slashes": (
    "x/a.mp4\tclass 7\nx/b.mp4\tup/down\n",
    *(["x/a.mp4", "x/b.mp4"], [0, 1], ("class 7", "up/down"), W),
  ),
  "path frames label": (
    "a.mp4 16 78\nb c.mp4 20 0\n",
    *(["a.mp4", "b c.mp4"], [78, 0], (), W),
  ),
  "path frames label, one of which is gone": (
    "a.mp4 16 78\nb.mp4 0 2\nc.mp4 20 0\n",
    *(["a.mp4", "b.mp4", "c.mp4"], [78, 2, 0], (), W),
  ),
  "path frames label, folders": (
    "run/a 300 0\nrun/b 299 1\n",
    *(["run/a", "run/b"], [0, 1], (), W),
  ),
  "path frames label with commas": (
    '"a,b.mp4",16,78\nc.mp4,20,0\n',
    *(["a,b.mp4", "c.mp4"], [78, 0], (), W),
  ),
  "path start frames label": (
    "a.mp4 0 16 2\na.mp4 16 -1 1\n",
    *(["a.mp4", "a.mp4"], [2, 1], ()),
    ["frames 0 to 16", "frames 16 to the end"],
  ),
  "path start frames label with spaces": (
    "a b.mp4 5 6 2\n\nc.mp4 0 1 0\n",
    *(["a b.mp4", "c.mp4"], [2, 0], ()),
    ["frames 5 to 11", "frames 0 to 1"],
  ),
  "CSV": (
    "split,path,Label,start,end\ntrain,a.mp4,wave,1.5,3\n"
    'train,"b,c.mp4",clap,,2.25\n,a.mp4,wave,4,\n',
    *(["a.mp4", "b,c.mp4", "a.mp4"], [1, 0, 1], ("clap", "wave")),
    ["seconds 1.5 to 3", "seconds 0 to 2.25", "seconds 4 to the end"],
  ),
  "TSV": (
    "path\tlabel\tstart_frame\tnum_frames\na b.mp4\t2\t10\t5\nc.mp4\t0\t\t\n",
    *(["a b.mp4", "c.mp4"], [2, 0], ()),
    ["frames 10 to 15", "frames 0 to the end"],
  ),
  "CSV with lengths": (
    "path,num_frames,label\na.mp4,16,1\nb.mp4,20,0\n",
    *(["a.mp4", "b.mp4"], [1, 0], (), W),
  ),
  "JSON lines": (
    '{"path": "a.mp4", "label": "wave", "start": 1}\n\n'
    '{"label": "clap", "path": "b é.mp4", "end": 2.5, "other": []}\n',
    *(["a.mp4", "b é.mp4"], [1, 0], ("clap", "wave")),
    ["seconds 1 to the end", "seconds 0 to 2.5"],
  ),
}
WITHOUT_LABELS = {
  "path": ("a.mp4\nb c.mp4\n", ["a.mp4", "b c.mp4"], W),
  "whole videos": ("a.mp4 0 -1\nb.mp4 0 -1\n", ["a.mp4", "b.mp4"], W),
  "path start frames": (
    "a.mp4 0 16\na.mp4 16 -1\n",
    ["a.mp4", "a.mp4"],
    ["frames 0 to 16", "frames 16 to the end"],
  ),
  "to the end": (
    "a.mp4 16 -1\nb.mp4 17 20\n",
    ["a.mp4", "b.mp4"],
    ["frames 16 to the end", "frames 17 to 37"],
  ),
  "CSV": ("path\na.mp4\nb c.mp4\n", ["a.mp4", "b c.mp4"], W),
  "JSON lines": (
    '{"path": "a.mp4", "start_frame": 3, "num_frames": 4}\n',
    *(["a.mp4"], ["frames 3 to 7"]),
  ),
}
SAID = {
  "path label": "2 columns: path, label; 2 classes",
  "names": "2 columns: path, label; 2 classes by name: clap, loud, wave",
  "path frames label": "3 columns: path, frames (not used), label; 2 classes",
  "path start frames label": "4 columns: path, first frame, number of frames, "
  "label; 2 classes",
  "CSV": "CSV with a header, columns path, label, start, end (not used: split)"
  "; 2 classes by name: clap, wave",
}


def write(folder, text, name="list.csv"):
  path = folder / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def windows_of(rows):
  if rows.parts is None:
    return None
  return [str(rows.parts[row]) for row in range(len(rows))]


@pytest.mark.parametrize("name", ROWS)
def test_rows(name, tmp_path):
  text, files, labels, classes, windows = ROWS[name]
  path = write(tmp_path, text)
  rows = manifest.load(path)
  assert rows.files == tuple(f"{tmp_path}/{file}" for file in files)
  assert (rows.labels.tolist(), rows.classes) == (labels, classes)
  assert rows.labels.dtype == np.int32
  assert windows_of(rows) == windows
  if name in SAID:
    assert rows.form == f"{path}: {SAID[name]}"


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_rows_without_labels(name, tmp_path):
  text, files, windows = WITHOUT_LABELS[name]
  path = write(tmp_path, text)
  rows = manifest.load(path, classes=False)
  assert rows.files == tuple(f"{tmp_path}/{file}" for file in files)
  assert rows.labels.tolist() == [-1] * len(files)
  assert windows_of(rows) == windows
  assert rows.form.endswith("; no labels")
  if name == "CSV":
    assert rows.form == f"{path}: CSV with a header, columns path; no labels"
  with pytest.raises(errors.UserError, match="label"):
    manifest.load(path)


def test_parquet(tmp_path):
  """As pandas writes it: what is missing makes floats of whole numbers."""
  table = {
    "path": ["a.mp4", "b.mp4", "a.mp4"],
    "label": [2.0, 0.0, 1.0],
    "start": [0.5, None, float("nan")],
    "end": [1.5, 2.0, None],
    "more": [[1], [2], []],
  }
  path = str(tmp_path / "list.parquet")
  parquet.write_table(pyarrow.table(table), path)
  rows = manifest.load(path)
  assert rows.labels.tolist() == [2, 0, 1] and rows.classes == ()
  assert windows_of(rows) == [
    *("seconds 0.5 to 1.5", "seconds 0 to 2", "seconds 0 to the end"),
  ]
  assert "columns path, label, start, end (not used: more)" in rows.form
  table["label"] = ["wave", "clap", "wave"]
  parquet.write_table(pyarrow.table(table), path)
  assert manifest.load(path).classes == ("clap", "wave")
  write(tmp_path, b"PAR1 and no more", "list.parquet")
  with pytest.raises(errors.UserError, match="is not a Parquet file"):
    manifest.load(path)


BOTH = {
  # text, classes, the options that decide
  "a.mp4 16 78\n": (False, ("path,frames,label", "path,start,frames")),
  "a.mp4,16,78\nb.mp4,3,4\n": (
    *(False, ("path,frames,label", "path,start,frames")),
  ),
  "a.mp4 0 16\nb.mp4 16 16\nc.mp4 32 16\n": (
    *(False, ("path,frames,label", "path,start,frames")),
  ),
  "clip 1 0\nclip 2 1\n": (True, ("path,label", "path,frames,label")),
  "my clips/a 1 0\n": (True, ("path,label", "path,frames,label")),
  "a.mp4 12 wave\nb.mp4 16 clap\n": (
    *(True, ("path,label", "path,frames,label")),
  ),
}
DECIDED = {
  ("a.mp4 16 78\n", "path,frames,label"): ([78], "", None),
  ("a.mp4 16 78\n", "path,start,frames"): ([-1], "", ["frames 16 to 94"]),
  ("clip 1 0\nclip 2 1\n", "path,label"): ([0, 1], " 1", None),
  ("clip 1 0\nclip 2 1\n", "path,frames,label"): ([0, 1], "", None),
  ("a.mp4 12 wave\nb.mp4 16 clap\n", "path,frames,label"): (
    *([1, 0], "", None),
  ),
  ("a.mp4 12 wave\nb.mp4 16 clap\n", "path,label"): ([0, 1], "", None),
  ("clip 1\n", "path"): ([-1], " 1", None),
}


@pytest.mark.parametrize("text", BOTH)
def test_two_readings_are_refused_with_the_option(text, tmp_path):
  classes, forms = BOTH[text]
  with pytest.raises(errors.UserError) as caught:
    manifest.load(write(tmp_path, text), classes=classes)
  message = str(caught.value)
  assert "\n" not in message and "list_form=" in message
  for form in forms:
    assert form in message


@pytest.mark.parametrize(("text", "form"), DECIDED)
def test_the_option_decides(text, form, tmp_path):
  labels, end, windows = DECIDED[text, form]
  path = write(tmp_path, text)
  rows = manifest.load(path, classes=False, form=form)
  first = text.split()[0]
  assert rows.files[0] == f"{tmp_path}/{first}{end}"
  assert rows.labels.tolist() == labels and windows_of(rows) == windows
  assert (
    sources.load(path, classes=False, reading=Reading(form)).form == rows.form
  )


@pytest.mark.parametrize(
  ("text", "classes", "words"),
  [
    ("a.mp4 16 78\nb.mp4 3\n", True, ["line 2", "'b.mp4 3'", "2 columns"]),
    ("a.mp4 3\nb.mp4 16 78\n", True, ["line 2", "more columns"]),
    ("a.mp4 3\nb.mp4 16 78\n", False, ["several: '16 78'"]),
    ("a.mp4 3\nb.mp4 16 -1\n", False, ["line 2", "part of a video"]),
    ("a.mp4 0 78\nb.mp4 3 0\n", True, ["line 1", "number of frames from 1"]),
    ("a.mp4 0 0\n", False, ["line 1", "number of frames from 1"]),
    ("a.mp4 0 16 -1\n", True, ["line 1", "a label from 0 up"]),
    ("a.mp4 0 0 3\n", True, ["line 1", "a number of frames from 1 up"]),
    ("a.mp4 0 -1\n", True, ["line 1", "no label", "pre-training list"]),
    ("a.mp4 wave\nb.mp4 3\n", True, ["line 2", "'3' is a number", "'wave'"]),
    ("a.mp4 3\nb.mp4 wave\n", True, ["line 2", "'wave'", "by name"]),
    ("a.mp4 wave\nb.mp4\n", True, ["line 2", "no label"]),
    ("x/clip playing guitar\n", True, ["line 1", "tab or a comma"]),
    ("path,label\na.mp4\n", True, ["line 2", "1 fields", "header has 2"]),
    ("path,label\na.mp4,\n", True, ["line 2", "no label for 'a.mp4'"]),
    ("path,label\n,3\n", True, ["line 2", "no path"]),
    ("path,label,label\na.mp4,3,4\n", True, ["'label' twice"]),
    ("path,label\n", True, ["is empty"]),
    ("path label\na.mp4 3\n", True, ["first line", "commas or tabs"]),
    ("path,class\na.mp4,3\n", True, ["no column 'label' among path, class"]),
    ("label,id,start\nwave,x,7\n", True, ["first line", "'path'"]),
    ('[\n"a.mp4",\n]\n', True, ["first line", "JSON"]),
    ("path,start,end\na.mp4,2,1\n", False, ["line 2", "0 <= start < end"]),
    ("path,start,end\na.mp4,-2,1\n", False, ["line 2", "0 <= start < end"]),
    ("path,start\na.mp4,soon\n", False, ["line 2", "start 'soon'"]),
    (
      "path,start_frame,num_frames\na.mp4,2,0\n",
      *(False, ["line 2", "num_frames from 1 up"]),
    ),
    (
      "path,start_frame,num_frames\na.mp4,2.5,1\n",
      *(False, ["line 2", "start_frame from 0 up"]),
    ),
    ("path,start,start_frame\na.mp4,1,2\n", False, ["seconds or in frames"]),
    ('{"path": "a.mp4"}\n{"path": 3}\n', False, ["line 2", "no path, but 3"]),
    ('{"path": "a.mp4"}\n{"path"\n', False, ["line 2"]),
    ('{"path": "a.mp4", "label": [1]}\n', False, ["line 1", "[1] is no label"]),
  ],
)
def test_what_is_refused(text, classes, words, tmp_path):
  with pytest.raises(errors.UserError) as caught:
    manifest.load(write(tmp_path, text), classes=classes)
  message = str(caught.value)
  assert "\n" not in message and "list.csv" in message
  for word in words:
    assert word in message


def test_a_form_that_does_not_fit_is_refused(tmp_path):
  path = write(tmp_path, "a.mp4 3\n")
  for form, words in (
    ("path,frames,label", "line 1.*data.list_form=path,frames,label says"),
    ("path", "has no labels, as its form 'path' says"),
  ):
    with pytest.raises(errors.UserError, match=words):
      manifest.load(path, form=form)


def test_test_classes_count_as_the_training_ones_do(tmp_path):
  names = manifest.load(write(tmp_path, "a.mp4 x\nb.mp4 y\nc.mp4 z\n")).classes
  for text in ("d.mp4 z\ne.mp4 x\n", "path,label\nd.mp4,z\ne.mp4,x\n"):
    rows = manifest.load(write(tmp_path, text), names=names)
    assert rows.labels.tolist() == [2, 0] and rows.classes == ("x", "y", "z")
  with pytest.raises(errors.UserError, match="the class 'w', which the train"):
    manifest.load(write(tmp_path, "d.mp4 z\ne.mp4 w\n"), names=names)


def test_columns_and_tables_say_the_same(tmp_path):
  """Random rows, written in all forms that hold them."""
  draw = np.random.default_rng(0)
  names = [f"c{n}/v {n}.mp4" for n in draw.permutation(50)]
  numbers = draw.integers(0, 9, (50, 3)) + [0, 1, 0]
  rows = [(n, *map(int, r)) for n, r in zip(names, numbers, strict=True)]
  keys = ("path", "start_frame", "num_frames", "label")
  header = ",".join(keys)
  texts = [
    "".join(f"{n} {a} {b} {c}\n" for n, a, b, c in rows),
    "".join(f'"{n}"\t{a}\t{b}\t{c}\r\n' for n, a, b, c in rows),
    f"{header}\n" + "".join(f"{n},{a},{b},{c}\n" for n, a, b, c in rows),
    "".join(
      json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows
    ),
  ]
  found = [manifest.load(write(tmp_path, text)) for text in texts]
  for one in found:
    assert one.files == tuple(f"{tmp_path}/{name}" for name in names)
    assert one.labels.tolist() == numbers[:, 2].tolist()
    assert one.parts.tobytes() == found[0].parts.tobytes()
  assert found[0].parts.ends.tolist() == numbers[:, :2].sum(1).tolist()


@pytest.mark.parametrize("name", ["clip 1", "a.mp4 2", "x 3 4", "a.mp4,5"])
def test_a_line_of_a_name_that_ends_in_a_number(name):
  text = list_lines.line(name, 5) + list_lines.line("b 7", 6)
  found = list_lines.read(text.encode(), "list")
  assert found.paths == [name, "b 7"] and found.labels.tolist() == [5, 6]
