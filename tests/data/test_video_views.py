"""Further views of a video: of its own frames and crop each."""

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sources
from sigma_jax.data.video.decode import Clip

SIDE = 36  # of the videos' short side: crops of whole squares stay unscaled
VIEWS = (
  settings_lib.Views("second", 1, 4, SIDE),
  settings_lib.Views("local", 3, 2, 16, (0.05, 0.2)),
)


@pytest.fixture(scope="module", name="rows")
def rows_fixture(video_folder):
  return sources.load(str(video_folder / "train.txt"))


def run_of(**data):
  options = {"num_frames": 4, "stride": 1, "size": SIDE, "workers": 2}
  options |= {"scales": (1.0,)}
  return settings_lib.Settings(
    data=settings_lib.Data(**(options | data)),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=4),
  )


def train(settings, rows, steps, **options):
  def never(row, path, reason):
    raise AssertionError(f"{path}: {reason}")

  with pipeline.train_batches(
    settings, rows, on_bad=never, **options
  ) as batches:
    return [next(batches) for _ in range(steps)]


def locate(frames, clip):
  """Start and left edge of a clip in its video."""
  for start in range(len(frames) - len(clip) + 1):
    for x in range(9):
      cut = frames[start : start + len(clip), :, x : x + SIDE]
      if (clip == cut).all():
        return start, x
  raise AssertionError("no part of the video")


def test_two_views_have_windows_and_crops_of_their_own(rows):
  places = []
  for batch in train(run_of(), rows, 6, views=VIEWS):
    assert batch["second"].shape == (4, 1, 4, SIDE, SIDE, 3)
    assert batch["local"].shape == (4, 3, 2, 16, 16, 3)
    for row, first, second in zip(
      batch["index"], batch["video"], batch["second"][:, 0], strict=True
    ):
      with Clip(rows.files[row], 10) as video:
        frames = video.read(np.arange(video.num_frames))
      places.append((*locate(frames, first), *locate(frames, second)))
  places = np.array(places)
  for one, other in ((0, 2), (1, 3)):  # start, left edge
    assert (places[:, one] != places[:, other]).mean() > 0.4
    assert len(set(places[:, other])) > 2


def test_clips_are_the_same_with_and_without_views(rows):
  alone = train(run_of(), rows, 3)
  beside = train(run_of(), rows, 3, views=VIEWS)
  for one, other in zip(alone, beside, strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_views_of_files_without_an_index(write_video, tmp_path, suffix):
  """Which are decoded from the start, again for every view."""
  write_video(
    tmp_path / f"a.{suffix}", 24, 36, 44, codec="mpeg4", stamps=range(24)
  )
  (tmp_path / "train.txt").write_text(f"a.{suffix} 0\n")
  rows = sources.load(str(tmp_path / "train.txt"))
  alone = train(run_of(), rows, 2)
  beside = train(run_of(), rows, 2, views=VIEWS)
  for one, other in zip(alone, beside, strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert np.any(other["second"][:, 0] != other["video"])


def test_local_views_differ_from_each_other(rows):
  (batch,) = train(run_of(), rows, 1, views=VIEWS)
  for views in batch["local"]:
    assert len({view.tobytes() for view in views}) == 3


@pytest.mark.parametrize("samples", [1, 2])
def test_views_are_a_function_of_the_step_alone(rows, samples):
  """Whatever the hosts, the workers and the step that a run went on from."""
  settings = run_of(samples=samples)
  whole = train(settings, rows, 3, views=VIEWS)[2]
  assert whole["second"].shape[0] == 4 * samples
  parts = [
    train(
      run_of(samples=samples, workers=1),
      rows,
      1,
      views=VIEWS,
      start_step=2,
      process_index=host,
      process_count=2,
    )[0]
    for host in range(2)
  ]
  for name in whole:
    joined = np.concatenate([part[name] for part in parts])
    np.testing.assert_array_equal(whole[name], joined, err_msg=name)


def test_a_local_views_crop_is_small(rows):
  """Of a fiftieth of a frame: nearly one colour in blocks of 8 pixels."""
  tiny = settings_lib.Views("local", 2, 4, 16, (0.02, 0.02))
  whole = settings_lib.Views("local", 2, 4, 16, (1.0, 1.0))
  spreads = [
    train(run_of(crop="random_resized"), rows, 1, views=(each,))[0]["local"]
    .std(axis=(3, 4))
    .mean()
    for each in (tiny, whole)
  ]
  assert spreads[0] < 0.8 * spreads[1]
