"""Clips from prepared records are the clips of the files they were made of."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from array_record.python import array_record_module

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.data import examples, sources
from sigma_jax.data.records import (
  array_record_file,
  jpeg,
  record_format,
  tf_example,
)
from sigma_jax.data.video import transforms
from sigma_jax.data.video.containers import DecodeError

ROOT = pathlib.Path(__file__).parents[2]
SIZES = [(48, 64), (256, 340), (36, 44), (33, 47), (16, 16), (100, 200)]


def smooth(height, width, phase=0.0):
  """Gradients of all colours, uint8 [height, width, 3]."""
  y, x = np.mgrid[:height, :width]
  waves = (x / 17 + y / 29 + phase, x / 23 - y / 13, y / 19 + x / 31)
  return np.stack([127 + 100 * np.sin(w) for w in waves], -1).astype(np.uint8)


def psnr(left, right):
  error = np.mean((left.astype(float) - right) ** 2)
  return 10 * np.log10(255**2 / error)


def planes(frame):
  """Brightness and the two colours of a decoded frame."""
  views = []
  for plane in frame.planes:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    views.append(rows[: plane.height, : plane.width])
  return views


@pytest.fixture(scope="module")
def manifest(write_video, tmp_path_factory):
  """A video of three records, one turned, one small, an image."""
  folder = tmp_path_factory.mktemp("sources")
  write_video(folder / "long.mp4", frames=70, width=80, crf="10")
  write_video(folder / "turned.mp4", rotation=90, crf="10")
  write_video(folder / "odd.mkv", height=34, width=46, codec="mpeg4", qmin="1")
  PIL.Image.fromarray(smooth(37, 51)).save(folder / "still.png")
  rows = ("long.mp4 7", "turned.mp4 0", "odd.mkv 7", "still.png 3")
  (folder / "all.csv").write_text("\n".join(rows))
  return str(folder / "all.csv")


@pytest.fixture(scope="module")
def prepared(manifest, tmp_path_factory):
  """The folder of their records."""
  out = str(tmp_path_factory.mktemp("records") / "all")
  command = ["--manifest", manifest, "--out", out, "--workers=1"]
  subprocess.run(
    [sys.executable, "-m", "sigma_jax.data.prepare", *command, "--quality=95"],
    cwd=ROOT,
    check=True,
    timeout=120,
  )
  return out


@pytest.fixture
def copied(prepared, tmp_path):
  """A copy of them, to be damaged."""
  return shutil.copytree(prepared, tmp_path / "copy")


@pytest.mark.parametrize("height,width", SIZES)
def test_the_tiles_under_a_box_are_those_of_the_whole_frame(height, width):
  rng = np.random.default_rng(height)
  image = rng.integers(0, 256, (height, width, 3), np.uint8)
  data = jpeg.encode(image, 90)
  (whole,) = jpeg.decode([data])
  tiled = jpeg.Tiled(memoryview(data))
  assert (tiled.width, tiled.height) == (width, height)
  sizes = set()
  for _ in range(30):
    w, h = int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    part, (left, top) = tiled.cut((x, y, w, h))
    (frame,) = jpeg.decode([part])
    assert left <= x and top <= y and left % 16 == top % 16 == 0
    assert x + w <= left + frame.width and y + h <= top + frame.height
    for cut, all_of_it, scale in zip(
      planes(frame), planes(whole), (1, 2, 2), strict=True
    ):
      rows, columns = cut.shape
      above, before = top // scale, left // scale
      np.testing.assert_array_equal(
        cut, all_of_it[above : above + rows, before : before + columns]
      )
    sizes.add(len(part))
  assert min(sizes) < len(data) or (height, width) == (16, 16)


def test_any_program_reads_the_frames(tmp_path):
  image = smooth(100, 150)
  (tmp_path / "a.jpg").write_bytes(jpeg.encode(image, 95))
  with PIL.Image.open(tmp_path / "a.jpg") as read:
    assert psnr(np.asarray(read), image) > 40


def test_a_jpeg_without_tiles_is_refused(tmp_path):
  image = PIL.Image.fromarray(smooth(64, 64))
  image.save(tmp_path / "plain.jpg")
  image.save(tmp_path / "progressive.jpg", progressive=True)
  plain = jpeg.Tiled((tmp_path / "plain.jpg").read_bytes())
  with pytest.raises(ValueError, match="1 tiles, not 8"):
    plain.cut((0, 0, 16, 16))
  for bad in ((tmp_path / "progressive.jpg").read_bytes(), b"", b"\xff\xd8"):
    with pytest.raises(ValueError, match="not a baseline JPEG"):
      jpeg.Tiled(bad)


def test_examples_are_those_of_tensorflow():
  values = {
    "bytes": [b"", b"abc", bytes(300)],
    "ints": [0, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)],
    "one": [b"x" * 70000],
  }
  data = tf_example.encode(values)
  theirs = tf.train.Example.FromString(data)
  for name, value in values.items():
    feature = theirs.features.feature[name]
    found = feature.bytes_list if name != "ints" else feature.int64_list
    assert list(found.value) == value
  again = tf_example.decode(memoryview(theirs.SerializeToString()))
  assert {
    k: [bytes(v) if k != "ints" else v for v in vs] for k, vs in again.items()
  } == values
  for cut in (1, 5, len(data) // 2, len(data) - 1):
    with pytest.raises(ValueError):
      tf_example.decode(memoryview(data[:cut]))


def test_records_lie_where_they_are_found(tmp_path):
  rng = np.random.default_rng(0)
  # Around the 64 KiB blocks of the format, with their headers of 24 bytes.
  near = [65536 * k + d for k in (1, 2) for d in range(-120, 130, 9)]
  records = [rng.bytes(size) for size in [1, 2, *near, 500_000, 3]]
  path = str(tmp_path / "a.array_record")
  places = array_record_file.write(path, records)
  data = pathlib.Path(path).read_bytes()
  for record, (begin, end) in zip(records, places.tolist(), strict=True):
    assert bytes(array_record_file.parse(data[begin:end], begin)) == record
  reader = array_record_module.ArrayRecordReader(path)
  assert reader.read(list(range(len(records)))) == records
  reader.close()
  begin, end = places[0].tolist()
  for damaged in (b"", data[begin : end - 1], bytes(end - begin)):
    with pytest.raises(array_record_file.DamagedRecord):
      array_record_file.parse(damaged, begin)


def test_a_file_without_records_has_none(tmp_path):
  path = str(tmp_path / "a.array_record")
  assert array_record_file.write(path, []).shape == (0, 2)


def test_rows_keep_their_names_and_labels(manifest, prepared):
  files, records = sources.load(manifest), sources.load(prepared)
  assert records.files == files.files and len(records) == 4
  np.testing.assert_array_equal(records.labels, files.labels, strict=True)
  assert records.path == prepared


def test_every_frame_is_the_frame_of_that_number(
  manifest, prepared, draw_frame
):
  with sources.load(prepared).open(0, 10) as video:
    assert video.num_frames == 70
    frames = video.read(np.arange(70))
  drawn = np.stack([draw_frame(n, 48, 80) for n in range(70)]).astype(float)
  for number, frame in enumerate(frames):
    errors_of = np.abs(drawn - frame).mean((1, 2, 3))
    assert errors_of.argmin() == number
  for row in range(4):
    with (
      sources.load(manifest).open(row, 10) as file,
      sources.load(prepared).open(row, 10) as video,
    ):
      assert video.num_frames == file.num_frames
      places = np.arange(0, file.num_frames, 3)
      assert psnr(video.read(places), file.read(places)) > 34


def test_order_and_repeats_are_those_asked_for(prepared):
  with sources.load(prepared).open(0, 10) as video:
    places = np.array([40, 3, 3, 69, 31, 32, 0])
    box = (lambda w, h: (4, 6, 40, 30), 24)
    for options in ((), box):
      single = [video.read(np.array([p]), *options)[0] for p in places]
      np.testing.assert_array_equal(video.read(places, *options), single)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("kind", ["files", "records"])
def test_several_boxes_are_those_read_alone(kind, row, manifest, prepared):
  source = sources.load(manifest if kind == "files" else prepared)
  asked = []

  def box(x, y, width, height):
    def box_of(*size):
      asked.append(size)
      return x, y, width, height

    return box_of

  # Even, odd, at odd places, of the size wanted; far apart and overlapping.
  boxes = [
    *(box(0, 0, 16, 16), box(21, 9, 24, 22), box(4, 6, 31, 25)),
    *(box(18, 2, 20, 20), box(0, 0, 16, 16)),
  ]
  with source.open(row, 10) as video:
    last = video.num_frames - 1
    places = np.array([last, 0, last // 2, 0])
    together = video.read(places, boxes, 20)
    assert len(asked) == len(boxes) and len(set(asked)) == 1
    alone = [video.read(places, one, 20) for one in boxes]
    one = video.read(places, boxes[1:2], 20)
  assert together.shape == (5, 4, 20, 20, 3)
  np.testing.assert_array_equal(together, np.stack(alone), strict=True)
  np.testing.assert_array_equal(one, together[1:2], strict=True)


@pytest.mark.parametrize("crop", ["multiscale", "random_resized", "center"])
def test_the_same_seed_gives_the_same_clips(crop, manifest, prepared):
  data = settings_lib.Data(num_frames=4, stride=2, size=32, crop=crop)
  settings = settings_lib.Settings(data=data, model=settings_lib.Model(patch=4))

  def never(row, path, reason):
    raise AssertionError(f"{path}: {reason}")

  of_files, of_records = (
    examples.Examples(settings, sources.load(path), never)
    for path in (manifest, prepared)
  )
  for number in range(16):
    (clip, *row, span), (other, *row_too, span_too) = (
      source.train(number) for source in (of_files, of_records)
    )
    clip, other = clip["video"], other["video"]
    assert row == row_too
    np.testing.assert_allclose(span, span_too, rtol=1e-6)
    assert (span[1] > span[0]) == (row[1] < 3)  # of an image nothing tells
    found = psnr(clip, other)
    assert found > 30
    # And no other crop: one pixel aside is further off by far, except in the
    # image, which is smooth.
    if row[1] < 3:
      assert found > psnr(clip[..., 1:, :], other[..., :-1, :]) + 3


@pytest.mark.parametrize("width", [64, 56, 48, 42, 51])
@pytest.mark.parametrize("corner", [(0, 0), (20, 10), (21, 11), (33, 30)])
def test_a_crop_is_that_of_the_rgb_frame(corner, width, tmp_path):
  """Against the crop of Pillow's RGB, at the ratios of the training crops."""
  blocks = np.random.default_rng(0).integers(60, 190, (25, 50, 3), np.uint8)
  textured = blocks.repeat(4, 0).repeat(4, 1)
  box = (*corner, width, 50)
  # Of odd sides, or of the size wanted, colours are repeated; else they are
  # interpolated, as Pillow does.
  repeats = width % 2 or (width, 50) == (56, 56)
  limits = (2, 8) if repeats else (1, 4)
  for image, limit in zip((smooth(100, 200), textured), limits, strict=True):
    data = jpeg.encode(image, 95)
    (tmp_path / "a.jpg").write_bytes(data)
    with PIL.Image.open(tmp_path / "a.jpg") as read:
      rgb = np.asarray(read)[None]
    part, (left, top) = jpeg.Tiled(data).cut(box)
    inner = (corner[0] - left, corner[1] - top, *box[2:])
    cut = transforms.FrameCutter([inner], 56)(jpeg.decode([part])[0])[0]
    wanted = transforms.crop_resize(rgb, box, 56)[0].astype(int)
    error = np.abs(cut - wanted).mean()
    assert error < limit


def test_reading_leaves_no_file_open(prepared):
  records = sources.load(prepared)
  before = len(os.listdir("/proc/self/fd"))
  for row in [0, 1, 2, 3] * 5:
    with records.open(row, 10) as video:
      video.read(np.array([0]))
  assert len(os.listdir("/proc/self/fd")) == before


def test_a_read_has_a_time_limit(prepared):
  with (
    sources.load(prepared).open(0, 0.0) as video,
    pytest.raises(DecodeError, match="timeout after 0 s"),
  ):
    video.read(np.array([0]))


def test_a_frame_beyond_the_end_is_refused(prepared):
  with sources.load(prepared).open(2, 10) as video:
    for place in (-1, 30):
      with pytest.raises(DecodeError, match="wanted of 30"):
        video.read(np.array([place]))


def test_what_is_missing_is_said_in_one_line(copied):
  (copied / "index.npz").rename(copied / "away")
  with pytest.raises(errors.UserError, match="goes on where it was") as caught:
    sources.load(str(copied))
  assert "\n" not in str(caught.value)
  (copied / "index.npz").write_bytes((copied / "away").read_bytes()[:-100])
  with pytest.raises(errors.UserError, match=r"index.npz is damaged"):
    sources.load(str(copied))
  (copied / "away").rename(copied / "index.npz")
  shard = next(copied.glob("*-00001-of-*"))
  shard.write_bytes(shard.read_bytes()[:-10])
  with pytest.raises(errors.UserError, match=r"00001-of-00004 has \d+ bytes"):
    sources.load(str(copied))
  shard.unlink()
  with pytest.raises(errors.UserError, match="1 of 4 shards are missing"):
    sources.load(str(copied))


def test_an_index_of_another_version_is_refused(copied, monkeypatch):
  monkeypatch.setattr(record_format, "_VERSION", 2)
  with pytest.raises(errors.UserError, match="version 1, this code reads 2"):
    sources.load(str(copied))


def test_damage_in_a_shard_is_a_bad_file_and_never_a_wrong_picture(copied):
  records = sources.load(str(copied))
  shard = next(copied.glob("*-00000-of-*"))
  sound = shard.read_bytes()
  rng = np.random.default_rng(0)
  with records.open(0, 10) as video:
    right = video.read(np.arange(70))
    places = video._places
  seen = 0
  for _ in range(40):
    damaged = bytearray(sound)
    damaged[rng.integers(places[0, 0], places[-1, 1])] ^= 16
    shard.write_bytes(damaged)
    with records.open(0, 10) as video:
      for frame in range(70):
        try:
          read = video.read(np.array([frame]))
        except DecodeError as error:
          seen += 1
          assert error.path.endswith("long.mp4")
          assert error.reason.startswith(f"shard {shard.name} damaged")
        else:
          np.testing.assert_array_equal(read[0], right[frame])
  assert seen >= 35
  shard.unlink()
  with pytest.raises(DecodeError, match="cannot be opened"):
    records.open(0, 10)


def test_remote_records_are_read_like_local_ones(prepared, tmp_path):
  far = f"ram://{tmp_path}/all"
  tf.io.gfile.makedirs(far)
  for path in pathlib.Path(prepared).iterdir():
    with tf.io.gfile.GFile(f"{far}/{path.name}", "wb") as file:
      file.write(path.read_bytes())
  near, remote = sources.load(prepared), sources.load(far)
  assert near.files == remote.files
  for row in range(4):
    with near.open(row, 10) as video, remote.open(row, 10) as copy:
      places = np.arange(0, video.num_frames, 7)
      np.testing.assert_array_equal(video.read(places), copy.read(places))
  tf.io.gfile.remove(
    f"{far}/{next(pathlib.Path(prepared).glob('*0-of*')).name}"
  )
  with pytest.raises(errors.UserError, match="1 of 4 shards are missing"):
    sources.load(far)
