"""Batches are pure functions of seed and step; no bad file goes unseen."""

import gc
import json
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sources
from sigma_jax.data.bad_files import BadFiles, TooManyBadFiles
from sigma_jax.data.video.decode import Clip

ROOT = pathlib.Path(__file__).parents[2]


def make_settings(batch_size=4, seed=0, **data):
  options = {"num_frames": 4, "stride": 2, "size": 32, "workers": 2}
  return settings_lib.Settings(
    seed=seed,
    data=settings_lib.Data(**(options | data)),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=batch_size),
  )


def never(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


def take(settings, rows, steps, on_bad=never, **options):
  with pipeline.train_batches(
    settings, rows, on_bad=on_bad, **options
  ) as batches:
    return [next(batches) for _ in range(steps)]


def assert_same(left, right):
  assert left.keys() == right.keys()
  for key in left:
    np.testing.assert_array_equal(left[key], right[key], strict=True)


@pytest.fixture(scope="module")
def rows(video_folder):
  return sources.load(str(video_folder / "train.txt"))


@pytest.fixture
def holed(video_folder, tmp_path):
  """Makes a manifest of 13 rows of which some point to missing files."""

  def make(*bad_rows):
    lines = [
      f"{video_folder / 'no' if row in bad_rows else video_folder}/{row}.mp4 "
      f"{row}\n"
      for row in range(13)
    ]
    path = tmp_path / "holed.txt"
    path.write_text("".join(lines))
    return sources.load(str(path))

  return make


def test_shapes_dtypes_and_rows(rows):
  batch = take(make_settings(), rows, 1)[0]
  assert batch["video"].shape == (4, 4, 32, 32, 3)
  assert batch["video"].dtype == np.uint8 and batch["video"].std() > 10
  assert batch["label"].dtype == batch["index"].dtype == np.int32
  np.testing.assert_array_equal(batch["label"], rows.labels[batch["index"]])


def test_an_epoch_has_every_row_once_across_batches(rows):
  batches = take(make_settings(), rows, 13)  # 52 clips: 4 epochs of 13
  order = np.concatenate([b["index"] for b in batches]).reshape(4, 13)
  for epoch in order:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(13))
  assert len({tuple(epoch) for epoch in order}) == 4


def test_resuming_gives_the_same_batches(rows):
  settings = make_settings(flip=True)
  fresh = take(settings, rows, 7)
  resumed = take(settings, rows, 2, start_step=5)
  assert_same(fresh[5], resumed[0])
  assert_same(fresh[6], resumed[1])
  assert (fresh[5]["video"] != fresh[4]["video"]).any()


def test_workers_do_not_matter_and_the_seed_does(rows):
  def dawdle(row):
    time.sleep(0.05 * (row % 3))

  one = take(make_settings(workers=1), rows, 2)[1]
  many = take(make_settings(workers=4), rows, 2, on_tried=dawdle)[1]
  assert_same(one, many)
  other = take(make_settings(seed=1), rows, 2)[1]
  assert (one["video"] != other["video"]).any()


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_out_the_same_global_batch(rows, hosts):
  settings = make_settings()
  whole = take(settings, rows, 2)[1]
  parts = [
    take(settings, rows, 2, process_index=p, process_count=hosts)[1]
    for p in range(hosts)
  ]
  joined = {k: np.concatenate([part[k] for part in parts]) for k in whole}
  assert_same(whole, joined)


def test_a_host_reads_the_slots_of_its_devices(rows):
  """Two clips of each video stay together; `slots` of several hosts need not
  be blocks."""
  settings = make_settings(samples=2)
  whole = take(settings, rows, 2)[1]
  for slots in ([0, 3], [2, 1], [2]):
    part = take(settings, rows, 2, slots=slots)[1]
    clips = np.add.outer(2 * np.asarray(slots), [0, 1]).reshape(-1)
    assert_same({k: v[clips] for k, v in whole.items()}, part)


def test_a_far_start_costs_nothing(rows):
  batch = take(make_settings(), rows, 1, start_step=400_000)[0]
  assert_same(batch, take(make_settings(), rows, 2, start_step=399_999)[1])


def test_a_batch_must_divide_among_hosts(rows):
  with pytest.raises(ValueError, match="divisible by the number of hosts"):
    pipeline.train_batches(make_settings(), rows, on_bad=never, process_count=3)


def test_a_bad_file_is_replaced_the_same_way_each_time(holed):
  rows, seen = holed(3, 8), []
  settings = make_settings()

  def on_bad(row, path, reason):
    seen.append((row, path, reason))

  batches = take(settings, rows, 13, on_bad)
  order = np.concatenate([batch["index"] for batch in batches])
  labels = np.concatenate([batch["label"] for batch in batches])
  assert not set(order) & {3, 8}
  np.testing.assert_array_equal(labels, order)
  assert {row for row, _, _ in seen} == {3, 8}
  assert all(p == rows.files[r] and "missing" in why for r, p, why in seen)
  again = take(settings, rows, 3, on_bad, start_step=10)
  assert_same(batches[12], again[2])


def test_a_bad_file_is_counted_and_listed_once(holed, tmp_path, capsys):
  rows = holed(3)
  bad = BadFiles(str(tmp_path), 0.02, rows.files)
  take(make_settings(), rows, 13, bad.report, on_tried=bad.tried)
  assert (bad.num_bad, bad.num_tried) == (1, 13)
  lines = (tmp_path / "bad_files.jsonl").read_text().splitlines()
  assert [json.loads(x)["file"] for x in lines] == [rows.files[3]]
  assert capsys.readouterr().err.count("3.mp4") == 1


@pytest.mark.parametrize("bad_rows", [range(6), range(13)])
def test_too_many_bad_files_stop_with_their_own_error(
  holed, tmp_path, capfd, bad_rows
):
  rows = holed(*bad_rows)
  bad = BadFiles(str(tmp_path), 0.02, rows.files)
  batches = pipeline.train_batches(
    make_settings(), rows, on_bad=bad.report, on_tried=bad.tried
  )
  with batches:
    for _ in range(2):  # the second time too: never a quiet end
      with pytest.raises(TooManyBadFiles, match=r"data\.max_bad_share") as e:
        for _ in range(20):
          next(batches)
  assert "\n" not in str(e.value)
  assert "Traceback" not in capfd.readouterr().err


def test_a_slot_without_any_readable_file_stops(holed):
  rows = holed(*range(13))
  with pytest.raises(TooManyBadFiles, match="9 files in a row"):
    take(make_settings(), rows, 1, lambda *_: None)


@pytest.mark.parametrize(("batch_size", "hosts"), [(4, 1), (4, 2), (13, 1)])
def test_evaluation_covers_every_row_once(rows, batch_size, hosts):
  streams = []
  for host in range(hosts):
    with pipeline.eval_batches(
      make_settings(),
      rows,
      batch_size=batch_size,
      on_bad=never,
      process_index=host,
      process_count=hosts,
    ) as batches:
      streams.append(list(batches))
  order, valid, labels = [], [], []
  for parts in zip(*streams, strict=True):
    for part in parts:
      assert part["video"].shape[0] == batch_size // hosts
      order.extend(part["index"])
      valid.extend(part["valid"])
      labels.extend(part["label"])
  assert order[:13] == list(range(13)) == labels[:13]
  assert valid[:13] == [True] * 13 and not any(valid[13:])
  assert order[13:] == [-1] * (len(order) - 13)
  assert len(order) - 13 < batch_size


def test_evaluation_takes_the_centre_first_then_other_starts(rows):
  # Videos are 44 x 36 and the input is 36: the crop is pixels 4 to 39.
  settings = make_settings(size=36, stride=1)
  with pipeline.eval_batches(
    settings, rows, batch_size=13, samples=3, on_bad=never
  ) as batches:
    found = list(batches)
  joined = {k: np.concatenate([b[k] for b in found]) for k in found[0]}
  np.testing.assert_array_equal(joined["index"], np.arange(13).repeat(3))
  starts = []
  for number, video in enumerate(joined["video"]):
    row, sample = divmod(number, 3)
    with Clip(rows.files[row], 10) as clip:
      frames = clip.read(np.arange(clip.num_frames))[:, :, 4:40]
    start = next(
      s for s in range(7 + row) if (frames[s : s + 4] == video).all()
    )
    assert sample or start == (6 + row) // 2
    starts.append(start / (6 + row))
  assert len(set(starts)) > 20


def test_a_bad_file_is_not_valid_in_evaluation(holed):
  rows, seen = holed(3), []
  with pipeline.eval_batches(
    make_settings(), rows, batch_size=13, on_bad=lambda *a: seen.append(a)
  ) as batches:
    (batch,) = batches
  np.testing.assert_array_equal(batch["valid"], np.arange(13) != 3)
  np.testing.assert_array_equal(batch["index"], np.arange(13))
  assert not batch["video"][3].any()
  assert [row for row, _, _ in seen] == [3]


def test_an_error_of_the_callback_reaches_the_consumer(holed):
  def on_bad(row, path, reason):
    raise KeyError("mine")

  with pytest.raises(KeyError, match="mine"):
    take(make_settings(), holed(*range(13)), 1, on_bad)


def test_close_ends_reading(rows):
  tried = []
  batches = pipeline.train_batches(
    make_settings(), rows, on_bad=never, on_tried=tried.append
  )
  next(batches)
  batches.close()
  batches.close()
  gc.collect()
  threads, count = threading.active_count(), len(tried)
  with pytest.raises(StopIteration):
    next(batches)
  assert threading.active_count() == threads
  assert len(tried) <= count + 2  # at most those under way in two workers


EXIT_IN_THE_MIDDLE = """
import sys
from sigma_jax import settings
from sigma_jax.data import pipeline, sources

run = settings.Settings(
  data=settings.Data(num_frames=4, stride=2, size=32),
  train=settings.Train(batch_size=4),
)
batches = pipeline.train_batches(run, sources.load(sys.argv[1]), on_bad=print)
print(next(batches)["index"].shape)
"""


def test_python_exits_cleanly_with_an_open_iterator(video_folder):
  done = subprocess.run(
    [
      sys.executable,
      "-c",
      EXIT_IN_THE_MIDDLE,
      str(video_folder / "train.txt"),
    ],
    capture_output=True,
    text=True,
    timeout=60,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == "(4,)\n"
  assert "Traceback" not in done.stderr


def test_only_the_pipeline_imports_tensorflow():
  code = (
    "import sys; sys.modules['tensorflow'] = None\n"
    "from sigma_jax.data import examples, bad_files, sources\n"
  )
  subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ROOT)
