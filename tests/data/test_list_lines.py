"""What lines of lists say, against the CSV writer of Python's library."""

import csv
import io
import random

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import list_lines


def read(text, classes=True):
  found = list_lines.read(text.encode(), "list x.csv", classes)
  assert found.labels.dtype == np.int32
  return list(zip(found.paths, found.labels.tolist(), strict=True))


@pytest.mark.parametrize("delimiter", [",", "\t", " "])
@pytest.mark.parametrize(
  "quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
)
@pytest.mark.parametrize("classes", [True, False])
def test_what_a_csv_writer_writes(delimiter, quoting, classes):
  """Names of all that quotes are for, drawn at random."""
  rng = random.Random(0)
  rows = []
  for _ in range(300):
    inner = "".join(rng.choices('ab",\t \n\'"é', k=rng.randint(0, 9)))
    rows.append((f"x{inner}y.mp4", rng.randint(0, 30)))
  out = io.StringIO()
  csv.writer(out, delimiter=delimiter, quoting=quoting).writerows(rows)
  assert read(out.getvalue(), classes) == rows


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize(
  ("line", "path", "label"),
  [
    ('"a.mp4" , 4', "a.mp4", 4),
    ('a, b.mp4,"4"', "a, b.mp4", 4),
    ('a b.mp4  "4"', "a b.mp4", 4),
    # Quotes inside a name are part of it, as they always were.
    ('say "hi".mp4 3', 'say "hi".mp4', 3),
    ('He said, "hi", ok.mp4 3', 'He said, "hi", ok.mp4', 3),
    ("a,b.mp4 +3\r", "a,b.mp4", 3),
    ("a, b\t3", "a, b", 3),
    ("no suffix, 3", "no suffix", 3),
  ],
)
def test_a_line(line, path, label, classes):
  # Once as a label that is new, once as one that was there before.
  assert read(f"z.mp4 {label}\n{line}\n", classes)[1] == (path, label)
  assert read(line, classes) == [(path, label)]


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize(
  ("text", "words"),
  [
    ('a.mp4 0\n"b.mp4 1\nc.mp4 2', ["line 2", "b.mp4 1", "not closed"]),
    ('"a.mp4"x,3', ["line 1", "CSV"]),
    ('"a.mp4",3,4,5,6', ["line 1", "CSV"]),
    ('0,"a.mp4",3', ["line 1", "CSV"]),
    ('z.mp4 3\n0,"a.mp4",3', ["line 2", "CSV"]),
    ('"",3', ["line 1", "CSV"]),
    ('"hi" he said.mp4 x', ["line 1"]),
    ("a\0.mp4 3", ["zero bytes"]),
    ("name,label\na.mp4,3", ["name,label", "no header line"]),
    ("label,youtube_id,time\nwalk,x,7", ["label,youtube_id", "no header line"]),
    ("vid cls\na.mp4 3", ["vid cls", "no header line"]),
    ('{"path": "a.mp4"}', ['{"path"', "no header line"]),
  ],
)
def test_what_is_refused_whatever_labels_are_for(text, words, classes):
  with pytest.raises(errors.UserError) as caught:
    read(text, classes)
  message = str(caught.value)
  assert "\n" not in message
  for word in ["list x.csv", *words]:
    assert word in message


@pytest.mark.parametrize(
  ("line", "path"),
  [
    ("a b.mp4 0 -1", "a b.mp4"),
    ("a,b.mp4,0,-1", "a,b.mp4"),
    ("a.mp4\t0\t-1", "a.mp4"),
    ('"a b.mp4" 0 -1', "a b.mp4"),
    ('"a.mp4","0","-1"', "a.mp4"),
    ("folder/clip 0 -1", "folder/clip"),
  ],
)
def test_pre_training_lists_of_videomae_v2(line, path):
  """VideoMAEv2, DATASET.md: path, first frame, -1 where it is a video."""
  assert read(f"{line}\n{line}\n", classes=False) == 2 * [(path, -1)]
  with pytest.raises(errors.UserError, match="pre-training list"):
    read(f"z.mp4 3\n{line}")


def test_labels_that_nobody_uses_may_be_anything():
  text = (
    "a b.mp4 playing guitar, loud\nc,d.avi,archery\n"
    '"e.mp4","playing guitar, loud"\nmy clip.mp4\nf.mp4 16 78\n'
    "g.mp4 99999999999\nh.mp4 1.5\ni.mp4 class 7\n"
  )
  found = list_lines.read(text.encode(), "list", classes=False)
  assert found.paths == [
    *("a b.mp4", "c,d.avi", "e.mp4", "my clip.mp4", "f.mp4", "g.mp4"),
    *("h.mp4", "i.mp4"),
  ]
  assert found.names == (
    *("", "1.5", "16 78", "99999999999", "archery", "class 7"),
    "playing guitar, loud",
  )
  labels = [found.names[label] for label in found.labels]
  assert labels == [
    *("playing guitar, loud", "archery", "playing guitar, loud", "", "16 78"),
    *("99999999999", "1.5", "class 7"),
  ]
  assert read("a.mp4 -1\nb.mp4 7\nc.mp4\n", classes=False) == [
    *(("a.mp4", -1), ("b.mp4", 7), ("c.mp4", -1)),
  ]


@pytest.mark.parametrize(
  "path",
  [
    "a.mp4",
    "a b.mp4",
    "a,b.mp4",
    '"a".mp4',
    "a\nb.mp4",
    "a\r.mp4",
    " a ",
    "a\t",
  ],
)
def test_a_line_that_is_written_is_read(path):
  line = list_lines.line(path, 3)
  assert read(line + line) == 2 * [(path, 3)]
  if path == "a.mp4":
    assert line == "a.mp4 3\n"  # as VideoMAE's reader wants it
