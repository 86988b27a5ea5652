"""When the frames of a clip are shown, as batches say it."""

import io

import numpy as np
import PIL.Image
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sources
from sigma_jax.data.annotations.repetitions import Repetitions
from sigma_jax.data.annotations.windows import Windows
from sigma_jax.data.records.record_format import Index

UNEVEN = np.cumsum([2, 9, 4, 1, 30, 3] * 5)  # hundredths of a second


def never(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


def make_settings(**data):
  options = {"num_frames": 4, "stride": 3, "size": 16, "workers": 2}
  return settings_lib.Settings(
    data=settings_lib.Data(**(options | data)),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=5),
  )


@pytest.fixture(scope="module")
def source(write_video, tmp_path_factory):
  """Uneven, even, late to begin, AVI, an image, VP8 with hidden frames.

  The AVI has a quarter of the frames that its rate promises.
  """
  folder = tmp_path_factory.mktemp("times")
  size = {"height": 16, "width": 16}
  write_video(folder / "0.mp4", stamps=list(UNEVEN), **size)
  write_video(folder / "1.mp4", **size)
  late = [40 + 4 * i for i in range(30)]
  write_video(folder / "2.mkv", stamps=late, **size)
  write_video(folder / "3.avi", codec="mpeg4", **size)
  hidden = {"auto-alt-ref": "1", "lag-in-frames": "16"}
  write_video(folder / "5.webm", codec="libvpx", **hidden, **size)
  PIL.Image.new("RGB", (16, 16)).save(folder / "4.png")
  names = ("0.mp4", "1.mp4", "2.mkv", "3.avi", "4.png", "5.webm")
  lines = [f"{name} {row}\n" for row, name in enumerate(names)]
  (folder / "list.txt").write_text("".join(lines))
  return sources.load(str(folder / "list.txt"))


def shown(row):
  """Seconds after the first frame that were written into a file."""
  if row == 4:
    return np.zeros(30)
  stamps = UNEVEN if row == 0 else 4 * np.arange(30)
  return (stamps - stamps[0]) / 100


def test_spans_of_views(source):
  with pipeline.eval_batches(
    make_settings(), source, batch_size=36, views=(3, 2), on_bad=never
  ) as batches:
    (batch,) = batches
  assert batch["span"].dtype == np.float32 and batch["span"].shape == (36, 2)
  for row, view, span in zip(
    batch["index"], batch["view"], batch["span"], strict=True
  ):
    start = (0, 10, 20)[view // 2]  # the first, the middle and the last
    wanted = shown(row)[[start, start + 9]]
    # Matroska's stamps are milliseconds.
    np.testing.assert_allclose(span, wanted, atol=1e-3)


def test_spans_of_training_clips_are_those_of_their_frames(source):
  """Each is a place that ten frames have in the video, and places differ."""
  settings, seen = make_settings(samples=2), set()
  with pipeline.train_batches(settings, source, on_bad=never) as batches:
    for _ in range(12):
      batch = next(batches)
      np.testing.assert_array_equal(batch["span"][::2], batch["span"][1::2])
      for row, span in zip(batch["index"], batch["span"], strict=True):
        times = shown(row)
        error = [abs(times[[i, i + 9]] - span).max() for i in range(21)]
        assert min(error) < 1e-3
        if row == 0:
          seen.add(int(np.argmin(error)))
  assert len(seen) > 5


def test_spans_of_padding_and_of_bad_files_are_zero(source, tmp_path):
  (tmp_path / "list.txt").write_text(f"no.mp4 0\n{source.files[1]} 1\n")
  with pipeline.eval_batches(
    make_settings(),
    sources.load(str(tmp_path / "list.txt")),
    batch_size=3,
    on_bad=lambda *_: None,
  ) as batches:
    (batch,) = batches
  wanted = [[0, 0], [0.4, 0.76], [0, 0]]
  np.testing.assert_allclose(batch["span"], wanted, atol=1e-6)


def test_a_clip_of_segments_spans_most_of_a_video(source):
  with pipeline.eval_batches(
    make_settings(sampling="segments"), source, batch_size=6, on_bad=never
  ) as batches:
    (batch,) = batches
  for row, span in enumerate(batch["span"]):
    np.testing.assert_allclose(span, shown(row)[[3, 26]], atol=1e-3)


def test_spans_of_windows_are_times_in_the_video(source):
  rows = [Repetitions(str(row), 2, 3, 28) for row in range(4)]
  windows = Windows(sources.part(source, 0, 4), rows, 4, 3)
  with pipeline.eval_batches(
    make_settings(), windows, batch_size=len(windows), on_bad=never
  ) as batches:
    (batch,) = batches
  for window, span in enumerate(batch["span"]):
    start = (2, 14, 26)[window % 3] + 1  # the middle of the three places
    ends = np.minimum([start, start + 9], 27)
    wanted = shown(windows.videos[window])[ends]
    np.testing.assert_allclose(span, wanted, atol=1e-3)


def test_an_index_without_rates_is_read():
  one = np.ones(1, np.int32)
  index = Index(("a",), one, one, 25 * one, np.ones((1, 2)), one, one, ("s",))
  assert Index.load(index.dump()).fps == 25
  with np.load(io.BytesIO(index.dump())) as stored:
    arrays = {name: stored[name] for name in stored if name != "fps"}
  old = io.BytesIO()
  np.savez(old, **arrays)
  assert Index.load(old.getvalue()).fps == 0
