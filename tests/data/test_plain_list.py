"""Lists read in blocks are those that are read line by line."""

import random

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import list_lines, plain_list

PLAIN = [
  b"a.mp4 0\nb.mp4 12\n",
  b"a.mp4\t0\nb.mp4\t999999999",
  b"c/a.mp4,007\r\nb,3\r\n",
  b"\xef\xbb\xbfa.mp4 1\n",
  "é.mp4 1\nü/\u3000x 2\n".encode(),
  b"\xff.mp4 5\n",
]
COLUMNS = [
  b"a.mp4 16 0\nb.mp4 17 4\n",
  b"a.mp4,16,0\r\nb.mp4,17,4\r\n",
  b"a.mp4 0 16\na.mp4 16 -1\n",
  b"a.mp4 0 16 3\na.mp4 16 -1 4\n",
  b"a.mp4 1 1\n",
  b"a.mp4 0 0\n",
  b"a/clip 1 0\nb/clip 2 1\n",
  b"clip 1 0\nclip 2 1\n",
]
WITHOUT_LABELS = [
  b"a.mp4 0 -1\nb.mp4 17 -1\n",
  b"a.mp4,0,-1\n",
  b"x 0 -1\ny.mp4 0 -1\n",  # as if the first were a header
  b"path 0 -1\n",
]
OTHER = [
  b"a.mp4 0\n\nb.mp4 1\n",
  b"a b.mp4 0\n",
  b"a.mp4 0 -2\n",
  b"a.mp4 -1 16\n",
  b"a.mp4 0 16 -1\n",
  b"a.mp4 0 16\nb.mp4 0\n",
  b"a.mp4 0 16 1 2\n",
  b"a.mp4 0 -1\nb.mp4 3\n",
  b"a.mp4 1000000000\n",
  b"a.mp4 -1\n",
  b'"a.mp4" 1\n',
  b"a,b.mp4 1\n",
  b"a.mp4 1\rb.mp4 2\n",
  "\u3000a.mp4 1\n".encode(),
  b"a.mp4\x1c1 1\n",
  b"a.mp4 one\n",
  b"a.mp4\n",
  b" 3\n",
  b"a.mp4 \n",
  b"",
]


def outcome(data, classes):
  try:
    found = list_lines.read(data, "list", classes)
  except errors.UserError as error:
    return str(error)
  parts = found.parts and list(
    map(found.parts.__getitem__, range(len(found.paths)))
  )
  labels = found.labels.tolist(), found.labels.dtype
  return found.paths, labels, found.names, parts, found.columns


def both(data, classes, monkeypatch):
  """What comes out with blocks and without."""
  found = outcome(data, classes)
  with monkeypatch.context() as patch:
    patch.setattr(plain_list, "read", lambda *_: None)
    return found, outcome(data, classes)


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("block", [3, 1 << 22])
def test_plain_lists_are_read_alike(classes, block, monkeypatch):
  monkeypatch.setattr(plain_list, "_BLOCK", block)
  for data in PLAIN:
    assert plain_list.read(data) is not None, data
    found, wanted = both(data, classes, monkeypatch)
    assert found == wanted, data


def test_several_columns_are_read_alike(monkeypatch):
  for data in COLUMNS + WITHOUT_LABELS:
    assert plain_list.read(data) is not None, data
    for classes in (True, False):
      found, wanted = both(data, classes, monkeypatch)
      assert found == wanted, data


def test_what_is_not_plain_is_left_to_others():
  for data in OTHER:
    assert plain_list.read(data) is None, data


def test_random_lists_are_read_alike(monkeypatch):
  """Lines of pieces that decide what a line means, in any order."""
  draw = random.Random(0)
  pieces = [
    b"a.mp4",
    b"b",
    b" ",
    b"\t",
    b",",
    b"3",
    b"-1",
    b'"',
    b"\r",
    b"\xc3",
  ]
  pieces += [b"/", b"0", b"\xe3\x80\x80", b"\x0b", b"+2", b"9" * 10, b"\n"]
  plain = 0
  for _ in range(3000):
    data = b""
    for _ in range(draw.randint(1, 4)):
      if draw.random() < 0.7:
        path = draw.choice(
          [b"a.mp4", b"b", b"c/d.webm", b"\xc3\xa9.mp4", b"\xff"]
        )
        separator = draw.choice([b" ", b" ", b"\t", b","])
        data += path + separator + str(draw.randint(0, 500)).encode()
        more = separator + draw.choice([b"-1", b"0", b"7"])
        data += draw.choice([b"", b"", b"", more])
      else:
        data += b"".join(draw.choices(pieces, k=draw.randint(1, 5)))
      data += draw.choice([b"\n", b"\n", b"\r\n", b""])
    plain += plain_list.read(data) is not None
    for classes in (True, False):
      found, wanted = both(data, classes, monkeypatch)
      assert found == wanted, data
  assert 300 < plain < 2700


def test_labels_are_int32():
  _, columns = plain_list.read(b"a 0\nb 999999999\n")
  assert columns.dtype == np.int32
  np.testing.assert_array_equal(columns, [[0, 999_999_999]])
