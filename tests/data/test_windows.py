"""Windows of videos for counting: every repetition once, exact frames."""

import itertools

import av
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sources
from sigma_jax.data.annotations import repetitions
from sigma_jax.data.annotations.repetitions import Repetitions
from sigma_jax.data.annotations.windows import Windows
from sigma_jax.data.video.containers import DecodeError


class Lengths:
  """A source of videos of so many frames; frame i is the number i."""

  path = "lengths"

  def __init__(self, *lengths):
    self._lengths, self.opened = lengths, []
    self.files = tuple(f"{row}.avi" for row in range(len(lengths)))
    self.labels = np.arange(len(lengths), dtype=np.int32) + 100

  def __len__(self):
    return len(self.files)

  def open(self, row, timeout):
    self.opened.append(row)
    if not self._lengths[row]:
      raise DecodeError(self.files[row], "damaged")
    return Video(self._lengths[row])


class Video:
  closed = False

  def __init__(self, num_frames):
    self.num_frames = num_frames

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.closed = True

  def read(self, indices, box_of=None, size=0):
    assert 0 <= indices.min() <= indices.max() < self.num_frames
    return indices[:, None, None, None]


def numbers(windows, row):
  """Frames of a window, counted from 1 as annotations do."""
  with windows.open(row, 1.0) as video:
    return video.read(np.arange(video.num_frames)).ravel() + 1


def test_windows_by_hand():
  source = Lengths(30, 9)
  rows = (
    Repetitions("0", 3, 5, 22, (7, 11, 19, 21)),
    Repetitions("1", 2),
  )
  found = Windows(source, rows, num_frames=4, stride=2)
  assert len(found) == 5 == len(found.files)
  np.testing.assert_array_equal(found.videos, [0, 0, 0, 1, 1], strict=False)
  np.testing.assert_array_equal(found.labels, [100, 100, 100, 101, 101])
  assert found.files == ("0.avi",) * 3 + ("1.avi",) * 2
  assert found.videos.dtype == found.labels.dtype == np.int32
  # Frames 5-12, 13-20, 21-22. By frame 13 one repetition and 2 of 8 frames of
  # the second are over, by frame 21 all; of nine frames the first eight.
  wanted = [1.25, 1.75, 0.0, 16 / 9, 2 / 9]
  np.testing.assert_allclose(found.counts, wanted, atol=1 / 4096)
  assert found.counts.dtype == found.totals.dtype == np.float32
  np.testing.assert_array_equal(found.totals, [3, 2])
  assert numbers(found, 1).tolist() == list(range(13, 21))
  assert numbers(found, 2).tolist() == [21] + [22] * 7
  assert numbers(found, 4).tolist() == [9] * 8
  assert source.opened[0] == 1  # to count its frames; the other is annotated


def test_phases_are_shifted_grids():
  rows = (Repetitions("0", 3, 5, 22, (7, 11, 19, 21)),)
  found = Windows(Lengths(30), rows, num_frames=4, stride=2, phases=2)
  starts = [numbers(found, row)[0] for row in range(len(found))]
  assert starts == [5, 13, 21, 5, 9, 17]  # a window from frame 1 starts at 5
  assert numbers(found, 3).tolist() == [5] * 4 + [5, 6, 7, 8]
  assert numbers(found, 5).tolist() == [17, 18, 19, 20, 21, 22, 22, 22]
  np.testing.assert_array_equal(found.counts[3:], [0.5, 1.25, 1.25])


@pytest.mark.parametrize("phases", [1, 3, 7])
def test_counts_add_up_exactly_and_frames_come_once(phases):
  rng = np.random.default_rng(phases)
  rows, lengths = [], []
  for row in range(60):
    first, count = int(rng.integers(1, 40)), int(rng.integers(1, 60))
    last = first + int(rng.integers(30, 300))  # two windows at least
    bounds = tuple(np.sort(rng.integers(first, last + 1, count + 1)).tolist())
    kinds = ((first, last, bounds), (first, last), (0, 0, bounds))
    rows.append(Repetitions(str(row), count, *kinds[row % 3]))
    lengths.append(last + 5)
  found = Windows(Lengths(*lengths), rows, 5, 3, phases)
  for video, annotation in enumerate(rows):
    mine = np.flatnonzero(found.videos == video)
    frames = [numbers(found, row) for row in mine]
    back = [a[-1] >= b[-1] for a, b in itertools.pairwise(frames)]
    grids = np.split(mine, np.flatnonzero(back) + 1)
    assert len(grids) == phases
    first = annotation.start_frame or 1
    last = annotation.end_frame or lengths[video]
    for grid in grids:
      total = np.float32(0)
      for row in grid:
        assert found.counts[row] >= 0
        total += found.counts[row]
      assert total == annotation.count == found.totals[video]
      seen = np.concatenate([numbers(found, row) for row in grid])
      assert set(seen) == set(range(first, last + 1))
      inside = seen[(seen > first) & (seen < last)]
      assert len(set(inside)) == len(inside)


def test_a_part_shorter_than_a_window():
  """Its bounds coincide, too."""
  rows = (Repetitions("0", 4, 29, 29, (29,) * 5),)
  found = Windows(Lengths(40), rows, 4, 4, phases=4)
  assert found.counts.tolist() == [4] * 4
  assert {tuple(numbers(found, row)) for row in range(4)} == {(29,) * 16}


def test_the_part_holds_all_bounds():
  """Also where annotations count from 0, or end before the last bound."""
  rows = (Repetitions("0", 2, 4, 9, (0, 5, 12)),)
  found = Windows(Lengths(12), rows, 8, 1)
  assert numbers(found, 0).tolist() == [1, 1, 2, 3, 4, 5, 6, 7]
  assert numbers(found, 1).tolist() == [8, 9, 10, 11, 12, 12, 12, 12]
  assert found.counts.sum() == 2


def test_videos_shorter_than_annotated():
  rows = (Repetitions("0", 2, 1, 12), Repetitions("1", 2, 1, 12))
  source = Lengths(10, 9)
  found = Windows(source, rows, 6, 1)
  assert numbers(found, 1).tolist() == [7, 8, 9, 10, 10, 10]
  with pytest.raises(DecodeError, match="up to frame 12, but it has 9"):
    found.open(3, 1.0)


def test_mistakes_are_told():
  rows = (Repetitions("0", 2),)
  with pytest.raises(
    errors.UserError, match=r"how many frames 0\.avi has \(da"
  ):
    Windows(Lengths(0), rows, 4, 1)
  with pytest.raises(
    errors.UserError, match=r"start in frame 9 and end in .* 3"
  ):
    Windows(Lengths(20), (Repetitions("0", 2, 9, 3),), 4, 1)
  with pytest.raises(errors.UserError, match=r"0\.avi: 9999, more than 4096"):
    Windows(Lengths(20), (Repetitions("0", 9999),), 4, 1)
  with pytest.raises(ValueError, match="1 annotations of 2"):
    Windows(Lengths(20, 20), rows, 4, 1)
  with pytest.raises(ValueError, match="at least 1, got 4, 1 and 0"):
    Windows(Lengths(20), rows, 4, 1, phases=0)


@pytest.mark.parametrize(
  ("line", "reason"),
  [
    ('{"file": "a", "count": 2, "bounds": [1, 5]}', "are 3 frames in order"),
    ('{"file": "a", "count": 1, "bounds": [5, 1]}', "are 2 frames in order"),
    ('{"file": "a", "count": 1.5}', "whole numbers"),
    ('{"file": "a", "count": 1, "start_frame": -1}', "whole numbers"),
  ],
)
def test_annotations_that_contradict_themselves(tmp_path, line, reason):
  path = tmp_path / "repetitions.jsonl"
  path.write_text(f"{line}\n")
  with pytest.raises(errors.UserError, match=f"line 1: a: .*{reason}"):
    repetitions.load(str(path), ["a.avi"])


def test_annotations_that_are_no_text(tmp_path):
  path = tmp_path / "labels.npz"
  np.savez(path, row=np.arange(3))
  with pytest.raises(errors.UserError, match=r"labels\.npz, line 1: "):
    repetitions.load(str(path), ["a.avi"])


@pytest.fixture(scope="module")
def videos(write_video, tmp_path_factory):
  folder = tmp_path_factory.mktemp("windows")
  write_video(folder / "a.mp4", frames=40, height=36, width=36, gop=7)
  write_video(folder / "b.avi", frames=40, height=36, width=36, codec="mpeg4")
  (folder / "list.txt").write_text("a.mp4 3\nb.avi 5\n")
  return sources.load(str(folder / "list.txt"))


def test_frames_are_those_of_a_sequential_decode(videos):
  rows = (Repetitions("a", 3, 4, 38), Repetitions("b", 5))
  found = Windows(videos, rows, num_frames=4, stride=3)
  decoded = []
  for file in videos.files:
    with av.open(file) as container:
      frames = container.decode(video=0)
      decoded.append(np.stack([f.to_ndarray(format="rgb24") for f in frames]))
  data = settings_lib.Data(num_frames=4, stride=3, size=36, workers=2)
  settings = settings_lib.Settings(data=data, model=settings_lib.Model(patch=4))

  def never(row, path, reason):
    raise AssertionError(f"{path}: {reason}")

  with pipeline.eval_batches(
    settings, found, batch_size=len(found), on_bad=never
  ) as batches:
    (batch,) = batches
  starts = [3, 15, 27, 0, 12, 24, 36]  # from 0
  last = [37] * 3 + [39] * 4
  np.testing.assert_array_equal(found.videos, [0, 0, 0, 1, 1, 1, 1])
  for row, video in enumerate(batch["video"]):
    # The middle of the three places that a stride of three leaves free.
    places = np.minimum(starts[row] + 1 + 3 * np.arange(4), last[row])
    np.testing.assert_array_equal(video, decoded[found.videos[row]][places])
  assert batch["label"].tolist() == [3] * 3 + [5] * 4
