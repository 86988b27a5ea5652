"""Toy sets: what they say is in their videos, and made twice the same."""

import itertools

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import manifest, pipeline, sources
from sigma_jax.data.annotations import multilabel, repetitions, windows
from sigma_jax.data.toy import digits, folder
from sigma_jax.data.toy import multilabel as toy_multilabel
from sigma_jax.data.toy import repetitions as toy_repetitions
from sigma_jax.data.video import mp4


@pytest.mark.parametrize("split", folder.SPLITS)
def test_files_are_a_function_of_the_seed(toy_clips, split):
  """Another process wrote the folder."""
  files = sources.load(str(toy_clips / f"{split}.csv")).files
  assert len(files) in (40, 12)
  for number, file in enumerate(files):
    clip, _ = digits.draw_clip(0, split, number)
    with open(file, "rb") as stored:
      assert stored.read() == mp4.encode(clip.frames, folder.FPS)


def test_a_folder_is_made_once(toy_clips, capsys):
  counts = ["--train=40", "--val=12", "--workers=1"]
  assert digits.main(["--out", str(toy_clips), *counts]) == 0
  assert "complete already" in capsys.readouterr().out
  assert digits.main(["--out", str(toy_clips), *counts, "--seed=1"]) == 2
  assert "another toy set" in capsys.readouterr().err
  assert toy_repetitions.main(["--out", str(toy_clips), *counts]) == 2


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
  out = tmp_path_factory.mktemp("toy") / "repetitions"
  counts = ["--train=8", "--val=3", "--workers=1"]
  assert toy_repetitions.main(["--out", str(out), *counts]) == 0
  return out


def test_repetitions_are_in_the_folder(repeated):
  for split, count in (("train", 8), ("val", 3)):
    source = sources.load(str(repeated / f"{split}.csv"))
    rows = repetitions.load(
      str(repeated / f"{split}_repetitions.jsonl"), source.files
    )
    assert len(rows) == len(source) == count
    np.testing.assert_array_equal(source.labels, [row.count for row in rows])
    for number, row in enumerate(rows):
      clip, again = toy_repetitions.draw(0, split, number)
      assert row == again
      with source.open(number, 10) as video:
        frames = video.read(np.arange(video.num_frames))
      assert frames.shape == clip.frames.shape
      assert np.abs(frames.astype(int) - clip.frames).mean() < 6
      with open(source.files[number], "rb") as stored:
        assert stored.read() == mp4.encode(clip.frames, folder.FPS)
    found = windows.Windows(source, rows, 4, 4)
    np.testing.assert_array_equal(
      np.bincount(found.videos, found.counts), source.labels
    )


def test_the_object_repeats_between_its_bounds_and_rests_outside():
  seen = {"count": set(), "rest": set()}
  for number in range(40):
    clip, found = toy_repetitions.draw(3, "train", number)
    masks = clip.ids.astype(np.float32)
    assert clip.frames.shape[1:] == (32, 32, 3)
    assert found.count == len(found.bounds) - 1
    assert (found.start_frame, found.end_frame) == (
      found.bounds[0],
      found.bounds[-1],
    )
    first, last = found.start_frame - 1, found.end_frame - 1
    for rest in (masks[: first + 1], masks[last:]):
      assert np.abs(rest - rest[0]).max() == 0
    # At each bound it is as it was at the first; half-way it is not.
    bounds = np.array(found.bounds) - 1
    assert np.abs(masks[bounds] - masks[first]).mean() < 0.01
    for begin, end in itertools.pairwise(bounds):
      within = np.abs(masks[begin:end] - masks[first]).mean((1, 2))
      assert within.max() > 0.02
    seen["count"].add(found.count)
    seen["rest"].add(len(masks) - 1 - last)
  assert seen["count"] == set(range(2, 13)) and len(seen["rest"]) > 8


def test_several_labels_of_the_toy_set(toy_clips, tmp_path):
  out = tmp_path / "labels"
  call = ["--toy", str(toy_clips), "--out", str(out)]
  assert toy_multilabel.main(call) == 0
  for split, count in (("train", 40), ("val", 12)):
    single = manifest.load(str(toy_clips / f"{split}.csv"))
    source = sources.load(str(out / f"{split}.csv"))
    labels = multilabel.load(str(out / f"{split}_labels.npz"), source)
    assert labels.targets.shape == (count, 18)
    appearance, motion = np.divmod(single.labels, 8)
    for row in range(count):
      wanted = [appearance[row], 10 + motion[row]]
      assert np.flatnonzero(labels.targets[row]).tolist() == wanted
      assert labels.during(row, 0.5, 0.75).tolist() == (
        labels.targets[row].tolist()
      )
    assert labels.names[3] == "digit 3" and labels.names[14] == "turn clockwise"
  settings = settings_lib.Settings(
    data=settings_lib.Data(num_frames=4, stride=2, size=16, workers=1),
    model=settings_lib.Model(patch=4),
  )
  with pipeline.eval_batches(
    settings, source, batch_size=12, on_bad=print
  ) as batches:
    (batch,) = batches
  assert batch["valid"].all()
  # Frames 1, 3, 5 and 7 of 10.
  np.testing.assert_allclose(batch["span"], [[1 / 8, 7 / 8]] * 12, atol=1e-6)


def test_labels_need_a_toy_set_and_leave_it_alone(toy_clips, tmp_path, capsys):
  call = ["--toy", str(tmp_path), "--out", str(tmp_path / "labels")]
  assert toy_multilabel.main(call) == 2
  assert "train.csv' does not exist" in capsys.readouterr().err
  before = (toy_clips / "train.csv").read_bytes()
  assert toy_multilabel.main(["--toy", str(toy_clips), "--out", str(toy_clips)])
  assert "would be lost" in capsys.readouterr().err
  assert (toy_clips / "train.csv").read_bytes() == before
