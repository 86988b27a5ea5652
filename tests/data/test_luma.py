"""Grey frames of the video beside its clips: which ones, and cut how."""

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import grey, pipeline, prepare, sources
from sigma_jax.data.video.decode import Clip
from sigma_jax.motion import luma as of_clips

ASKED = settings_lib.Luma(every=2, frames=4, size=16)


def never(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


def run(**data):
  options = {"num_frames": 4, "stride": 3, "size": 32, "workers": 1}
  return settings_lib.Settings(
    data=settings_lib.Data(**(options | data)),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=3),
  )


def take(settings, rows, steps=1, luma=ASKED, **options):
  with pipeline.train_batches(
    settings, rows, on_bad=never, luma=luma, **options
  ) as batches:
    return [next(batches) for _ in range(steps)]


@pytest.fixture(scope="module")
def manifest(write_video, tmp_path_factory):
  """Videos of 30 and of 6 frames, and their records."""
  folder = tmp_path_factory.mktemp("luma")
  for name, frames in (("long", 30), ("short", 6), ("third", 24)):
    write_video(folder / f"{name}.mp4", frames=frames, crf="10")
  lines = [f"{name}.mp4 0\n" for name in ("long", "short", "third")]
  (folder / "all.csv").write_text("".join(lines))
  return str(folder / "all.csv")


@pytest.fixture(scope="module")
def prepared(manifest, tmp_path_factory):
  out = str(tmp_path_factory.mktemp("prepared") / "all")
  assert not prepare.main(
    ["--manifest", manifest, "--out", out, "--workers=1", "--quality=95"]
  )
  return out


def test_they_are_the_video_s_own_in_a_row(manifest):
  """Counted from every second frame of a central clip; the last one repeats."""
  rows = sources.load(manifest)
  with pipeline.eval_batches(
    run(), rows, batch_size=3, on_bad=never, luma=ASKED
  ) as batches:
    batch = next(batches)
  # 10 frames of 30 from 10 on; all 6, of which a clip's third is the fourth,
  # its stride's last; 10 of 24 from 7 on.
  for place, (starts, last) in enumerate(
    [([10, 16], 29), ([0, 3], 5), ([7, 13], 23)]
  ):
    with Clip(rows.files[place], 30) as clip:
      side = min(clip.info.width, clip.info.height)
      left = (clip.info.width - side) // 2
      frames = clip.read(
        np.arange(last + 1), lambda *_, s=side, x=left: (x, 0, s, s), 32
      )
    wanted = np.minimum(np.add.outer(starts, np.arange(4)), last)
    np.testing.assert_array_equal(
      batch["luma"][place], grey.shrunk(frames, 2)[wanted], strict=True
    )


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("sampling", ["dense", "segments"])
def test_clips_are_those_of_batches_without(manifest, samples, sampling):
  settings = run(samples=samples, sampling=sampling)
  rows = sources.load(manifest)
  plain = take(settings, rows, 2, luma=None)
  for before, after in zip(plain, take(settings, rows, 2), strict=True):
    luma = after.pop("luma")
    assert before.keys() == after.keys()
    for name, values in before.items():
      np.testing.assert_array_equal(values, after[name], strict=True)
    assert luma.shape == (3 * samples, 2, 4, 16, 16)
    first = grey.shrunk(after["video"][:, ::2], 2)
    np.testing.assert_array_equal(luma[:, :, 0], first, strict=True)


def test_records_have_them_too(manifest, prepared):
  of_files, of_records = (
    take(run(), sources.load(path), 2)[1]["luma"]
    for path in (manifest, prepared)
  )
  assert np.abs(of_files - of_records.astype(float)).mean() < 3
  assert of_files.std() > 20


def test_resuming_and_hosts_change_nothing(manifest):
  rows, settings = sources.load(manifest), run()
  whole = take(settings, rows, 3)[2]["luma"]
  resumed = take(settings, rows, 1, start_step=2)[0]["luma"]
  np.testing.assert_array_equal(whole, resumed)
  part = take(settings, rows, 1, start_step=2, slots=[2, 0])[0]["luma"]
  np.testing.assert_array_equal(whole[[2, 0]], part)


def test_views_have_their_own(manifest):
  rows = sources.load(manifest)
  with pipeline.eval_batches(
    run(), rows, batch_size=6, on_bad=never, luma=ASKED, views=(2, 3)
  ) as batches:
    batch = next(batches)
  first = grey.shrunk(batch["video"][:, ::2], 2)
  np.testing.assert_array_equal(batch["luma"][:, :, 0], first)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_grey_is_the_mean_of_its_pixels(factor):
  frames = np.random.RandomState(0).randint(0, 256, (2, 5, 12, 12, 3))
  frames = frames.astype(np.uint8)
  exact = frames @ np.array([0.299, 0.587, 0.114])
  side = 12 // factor
  exact = exact.reshape(2, 5, side, factor, side, factor).mean((3, 5))
  found = grey.shrunk(frames, factor)
  assert np.abs(found - exact).max() <= 0.5 + 1e-4
  # Clips that are drawn and not read have them from their own frames.
  own = np.asarray(of_clips.of_clips(frames, 2, 3, side))
  assert own.shape == (2, 3, 3, side, side)
  wanted = found[:, np.minimum(np.add.outer([0, 2, 4], np.arange(3)), 4)]
  assert np.abs(own - wanted.astype(int)).max() <= 1
