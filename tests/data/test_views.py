"""Several clips of one video: augmented samples, views of a test."""

import collections
import threading

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sources
from sigma_jax.data.video.decode import Clip

SIDE = 36  # of the videos' short side: crops of whole squares stay unscaled


def make_settings(**data):
  options = {"num_frames": 4, "stride": 1, "size": SIDE, "workers": 2}
  return settings_lib.Settings(
    seed=0,
    data=settings_lib.Data(**(options | data)),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=4),
  )


def never(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


def evaluate(settings, rows, batch_size, hosts=1, **options):
  """Clips by (row, view), each of which has to come once; padding checked."""
  found, streams = {}, []
  for host in range(hosts):
    with pipeline.eval_batches(
      settings,
      rows,
      batch_size=batch_size,
      process_index=host,
      process_count=hosts,
      **({"on_bad": never} | options),
    ) as batches:
      streams.append(list(batches))
  assert len({len(stream) for stream in streams}) == 1
  for stream in streams:
    for batch in stream:
      assert len(batch["video"]) == batch_size // hosts
      for *key, valid, video in zip(
        *(batch[k] for k in ("index", "view", "valid", "video")), strict=True
      ):
        if tuple(key) == (-1, -1):
          assert not valid and not video.any()
          continue
        assert tuple(key) not in found
        found[tuple(key)] = video
  return found


class Counted:
  """A source that counts openings and reads by row."""

  def __init__(self, source):
    self._source, self._lock = source, threading.Lock()
    self.path, self.files, self.labels = (
      source.path,
      source.files,
      source.labels,
    )
    self.opened, self.reads = collections.Counter(), collections.Counter()

  def __len__(self):
    return len(self.files)

  def open(self, row, timeout):
    with self._lock:
      self.opened[row] += 1
    video = self._source.open(row, timeout)
    read = video.read

    def counted(*args):
      with self._lock:
        self.reads[row] += 1
      return read(*args)

    video.read = counted
    return video


@pytest.fixture(scope="module")
def rows(video_folder):
  return sources.load(str(video_folder / "train.txt"))


def test_views_are_the_squares_and_starts_stated(rows):
  found = evaluate(make_settings(), rows, 15, views=(5, 3))
  assert set(found) == {(row, v) for row in range(13) for v in range(15)}
  for row in (0, 7, 12):
    with Clip(rows.files[row], 10) as clip:
      frames = clip.read(np.arange(clip.num_frames))  # 10 + row, 44 x 36
    for view in range(15):
      time, space = divmod(view, 3)
      start, x = time * (6 + row) // 4, (0, 4, 8)[space]
      np.testing.assert_array_equal(
        found[row, view], frames[start : start + 4, :, x : x + SIDE]
      )


def test_a_tall_video_is_viewed_top_centre_and_bottom(write_video, tmp_path):
  path = write_video(tmp_path / "tall.mp4", frames=8, height=44, width=36)
  (tmp_path / "list.txt").write_text("tall.mp4 0\n")
  tall = sources.load(str(tmp_path / "list.txt"))
  found = evaluate(make_settings(), tall, 3, views=(1, 3))
  with Clip(path, 10) as clip:
    frames = clip.read(np.arange(2, 6))
  for view, y in enumerate((0, 4, 8)):
    np.testing.assert_array_equal(found[0, view], frames[:, y : y + SIDE])


@pytest.mark.parametrize(("batch_size", "hosts"), [(4, 1), (8, 2), (24, 4)])
@pytest.mark.parametrize(
  "several", [{"views": (2, 3)}, {"samples": 3}], ids=["views", "samples"]
)
def test_neither_batch_size_nor_hosts_matter(rows, several, batch_size, hosts):
  settings, counted = make_settings(size=16), Counted(rows)
  wanted = evaluate(settings, rows, 13, **several)
  found = evaluate(settings, counted, batch_size, hosts, **several)
  assert wanted.keys() == found.keys() and len(found) in (13 * 6, 13 * 3)
  for key, video in wanted.items():
    np.testing.assert_array_equal(found[key], video)
  # Decoding is what costs: one opening and one read give all clips of a row.
  assert set(counted.opened.values()) == set(counted.reads.values()) == {1}
  assert set(counted.opened) == set(range(13))


def test_a_single_view_is_the_centred_clip(rows):
  plain = evaluate(make_settings(), rows, 13)
  assert set(plain) == {(row, 0) for row in range(13)}
  samples = evaluate(make_settings(), rows, 13, samples=2)
  centre = evaluate(make_settings(), rows, 13, views=(3, 3))
  for row in range(0, 13, 2):  # free frames are even: the middle is one frame
    np.testing.assert_array_equal(plain[row, 0], samples[row, 0])
    np.testing.assert_array_equal(plain[row, 0], centre[row, 4])


def test_segments_are_tested_in_two_views(rows):
  found = evaluate(make_settings(sampling="segments"), rows, 13, views=(2, 1))
  with Clip(rows.files[2], 10) as clip:
    frames = clip.read(np.arange(12))[:, :, 4 : 4 + SIDE]  # segments of 3
  np.testing.assert_array_equal(found[2, 0], frames[[0, 3, 6, 9]])
  np.testing.assert_array_equal(found[2, 1], frames[[1, 4, 7, 10]])


def test_all_views_of_a_bad_file_are_black_and_not_valid(
  video_folder, tmp_path
):
  (tmp_path / "list.txt").write_text(f"no.mp4 0\n{video_folder}/1.mp4 1\n")
  reasons = []
  with pipeline.eval_batches(
    make_settings(),
    sources.load(str(tmp_path / "list.txt")),
    batch_size=4,
    views=(1, 3),
    on_bad=lambda row, path, reason: reasons.append((row, reason)),
  ) as batches:
    found = list(batches)
  joined = {k: np.concatenate([b[k] for b in found]) for k in found[0]}
  np.testing.assert_array_equal(joined["index"], [0, 0, 0, 1, 1, 1, -1, -1])
  np.testing.assert_array_equal(joined["view"], [0, 1, 2, 0, 1, 2, -1, -1])
  assert joined["valid"].tolist() == [False] * 3 + [True] * 3 + [False] * 2
  assert not joined["video"][:3].any() and joined["video"][5].any()
  assert reasons == [(0, "missing file")]


@pytest.mark.parametrize(
  "options",
  [{"samples": 2, "views": (2, 1)}, {"samples": 0}, {"views": (0, 3)}],
)
def test_views_that_make_no_sense(rows, options):
  with pytest.raises(ValueError, match="samples"):
    pipeline.eval_batches(
      make_settings(), rows, batch_size=4, on_bad=never, **options
    )


def train(settings, rows, steps, **options):
  with pipeline.train_batches(
    settings, rows, on_bad=never, **options
  ) as batches:
    return [next(batches) for _ in range(steps)]


def test_samples_share_frames_and_differ_in_crop(rows):
  settings = make_settings(samples=3, crop="multiscale", scales=(1.0,))
  counted = Counted(rows)
  batches = train(settings, counted, 6)
  shifts = set()
  for batch in batches:
    assert batch["video"].shape == (12, 4, SIDE, SIDE, 3)
    index = batch["index"].reshape(4, 3)
    np.testing.assert_array_equal(index, index[:, :1].repeat(3, 1))
    np.testing.assert_array_equal(batch["label"], batch["index"])
    for row, *clips in zip(
      index[:, 0],
      *np.moveaxis(batch["video"].reshape(4, 3, 4, SIDE, SIDE, 3), 1, 0),
      strict=True,
    ):
      with Clip(rows.files[row], 10) as video:
        frames = video.read(np.arange(video.num_frames))
      places = [locate(frames, clip) for clip in clips]
      assert len({start for start, _ in places}) == 1
      shifts |= {x for _, x in places}
  assert shifts == {0, 2, 4, 6, 8} - ({2, 6} - shifts) and len(shifts) >= 3
  assert set(counted.opened) <= set(range(13))
  assert max(counted.opened.values()) <= 3  # two epochs, and read ahead


def locate(frames, clip):
  """Start and left edge of a clip in its video."""
  for start in range(len(frames) - 3):
    for x in range(0, 9, 2):
      cut = frames[start : start + 4, :, x : x + SIDE]
      if (clip == cut).all():
        return start, x
  raise AssertionError("no part of the video")


@pytest.mark.parametrize("hosts", [2, 4])
def test_samples_are_shared_out_among_hosts(rows, hosts):
  settings = make_settings(samples=2, crop="random_resized", size=16)
  whole = train(settings, rows, 3)[2]
  parts = [
    train(settings, rows, 3, process_index=p, process_count=hosts)[2]
    for p in range(hosts)
  ]
  for key in whole:
    joined = np.concatenate([part[key] for part in parts])
    np.testing.assert_array_equal(whole[key], joined, strict=True)
  resumed = train(settings, rows, 1, start_step=2)[0]
  np.testing.assert_array_equal(whole["video"], resumed["video"])


def test_segments_train_on_ordered_frames(rows):
  settings = make_settings(sampling="segments", crop="center")
  clip = train(settings, rows, 1)[0]
  with Clip(rows.files[clip["index"][0]], 10) as video:
    frames = video.read(np.arange(video.num_frames))[:, :, 4 : 4 + SIDE]
  picked = [
    next(i for i, frame in enumerate(frames) if (frame == wanted).all())
    for wanted in clip["video"][0]
  ]
  size = len(frames) / 4
  for segment, frame in enumerate(picked):
    assert size * segment - 1 < frame < size * (segment + 1)
