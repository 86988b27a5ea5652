"""The picture of a confusion matrix, looked at by its pixels and texts."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sigma_jax.evaluate import confusion

PHRASE = "Pretending to put something onto something that it cannot hold"


@pytest.fixture
def texts(monkeypatch):
  """What is written: (text, its box, size of the page, anchor)."""
  written = []
  write = ImageDraw.ImageDraw.text

  def spy(pen, xy, text, fill=None, font=None, anchor=None):
    box = pen.textbbox(xy, text, font, anchor)
    written.append((text, box, pen.im.size, anchor))
    write(pen, xy, text, fill, font, anchor)

  monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
  return written


def matrix(size, seed=0):
  """Mostly right; class 1 has no clips where there are more than two."""
  counts = np.random.default_rng(seed).poisson(0.3, (size, size))
  counts += 30 * np.eye(size, dtype=np.int64)
  if size > 2:
    counts[1] = 0
  return counts


def decoded(counts, names):
  with Image.open(io.BytesIO(confusion.picture(counts, names))) as image:
    return np.asarray(image)


@pytest.mark.parametrize("size", [1, 2, 3, 30, 100, 101, 174, 200, 400])
@pytest.mark.parametrize("name", ["{}", PHRASE + " {}"])
def test_what_is_written_is_on_the_page_and_apart(texts, size, name):
  page = decoded(matrix(size), [name.format(i) for i in range(size)])
  assert max(page.shape) < 2200
  for text, box, (width, height), _ in texts:
    assert min(box) >= 0, (text, box)
    assert box[2] <= width and box[3] <= height, (text, box)
  rows = [(text, box) for text, box, _, anchor in texts if anchor == "rm"]
  named = [int(text.split()[0]) for text, _ in rows]
  if size <= 100:  # room for all
    assert named == list(range(size))
  else:
    assert 10 <= len(named) <= 25 and named[0] == 0
    assert len(set(np.diff(named))) == 1
  for (_, above), (_, below) in itertools.pairwise(rows):
    assert above[3] <= below[1] + 2
  if size >= 30:
    assert sum("  >  " in text for text, *_ in texts) == 12


def test_colors():
  counts = np.asarray([[20, 0, 0], [0, 0, 0], [1, 1, 18]])
  image = np.asarray(confusion._matrix(counts, 64))
  assert image.shape == (192, 192, 3)

  def at(i, j):
    return tuple(int(v) for v in image[64 * i + 32, 64 * j + 32])

  assert at(0, 0) == (8, 48, 107) and at(0, 1) == at(0, 2) == (255, 255, 255)
  assert at(1, 0) == at(1, 1) == at(1, 2) == (228, 228, 228)
  # A twentieth of a class is seen.
  assert at(2, 0) == at(2, 1) and sum(at(2, 0)) < 3 * 255 - 60
  assert sum(at(2, 2)) > sum(at(0, 0))
  # Each class has its own scale, so that rare ones are seen as well.
  np.testing.assert_array_equal(
    np.asarray(confusion._matrix(7 * counts, 64)), image
  )


def test_every_class_has_its_place_however_many():
  """One wrong clip of 400 classes is a cell of its own."""
  counts = 10 * np.eye(400, dtype=np.int64)
  before = np.asarray(confusion._matrix(counts, 3))
  counts[120, 350] = 1
  after = np.asarray(confusion._matrix(counts, 3))
  rows, columns = np.nonzero((before != after).any(axis=2))
  cells = set(zip(rows // 3, columns // 3, strict=True))
  assert cells == {(120, 350), (120, 120)}


def test_numbers_and_words_tell_the_counts(texts):
  counts = np.asarray([[7, 3], [12, 1234]])
  decoded(counts, ["stand", "fall"])
  written = [text for text, *_ in texts]
  assert "1,256 clips, 98.8% right" in written
  assert {"7", "3", "12", "1234"} <= set(written)
  first = written.index("12 of 1246: 1 fall  >  0 stand")
  assert written[first + 1] == "3 of 10: 0 stand  >  1 fall"


def test_nothing_wrong_and_nothing_at_all(texts):
  decoded(np.diag([4, 5]), ["0", "1"])
  assert "no confusions" in [text for text, *_ in texts]
  decoded(np.zeros((2, 2), np.int64), ["0", "1"])
  assert "0 clips" in [text for text, *_ in texts]


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (0, 0)])
def test_sizes_have_to_agree(shape):
  with pytest.raises(ValueError, match="does not go with"):
    confusion.picture(np.zeros(shape, np.int64), ["a", "b"][: shape[0]])
