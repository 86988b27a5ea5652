"""Folders of pictures as videos: frames, order, what is refused and told."""

import json
import os
import re

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.data import class_folders, pipeline, prepare, sources, splits
from sigma_jax.data.check import command
from sigma_jax.data.check import file as check_file
from sigma_jax.data.records import records
from sigma_jax.data.video import frame_folder, stills
from sigma_jax.data.video.containers import DecodeError
from sigma_jax.inference import clips


def picture(number, height=36, width=48):
  """Blocks that tell frames apart, uint8 [h, w, 3]."""
  blocks = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
  return blocks.repeat(8, 0).repeat(8, 1)[:height, :width]


def save(folder, numbers, form="img_{:05}.jpg", **sides):
  """Writes pictures; the folder's path."""
  folder.mkdir(parents=True, exist_ok=True)
  for number in numbers:
    image = PIL.Image.fromarray(picture(number, **sides))
    image.save(folder / form.format(number), lossless=True, quality=90)
  return str(folder)


def by_pillow(folder, names):
  return np.stack(
    [np.asarray(PIL.Image.open(os.path.join(folder, n))) for n in names]
  )


@pytest.fixture
def opened(monkeypatch):
  """Names of the pictures that are decoded, in turn."""
  names, init = [], stills.Still.__init__

  def counted(self, path):
    names.append(os.path.basename(path))
    init(self, path)

  monkeypatch.setattr(stills.Still, "__init__", counted)
  return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Thirteen folders of 10 to 22 frames and a list of them."""
  root = tmp_path_factory.mktemp("frames")
  for row in range(13):
    save(root / f"v{row}", range(1, 11 + row), height=32)
  lines = [f"v{row} {row}\n" for row in range(13)]
  (root / "train.txt").write_text("".join(lines))
  return root


@pytest.mark.parametrize(
  "form",
  [
    "img_{:05}.jpg",
    "{}.png",
    "frame-{:03}.JPEG",
    "a 2 b{:02}.webp",
    "{:06}.bmp",
  ],
)
def test_frame_i_is_picture_i(form, tmp_path, opened):
  path = save(tmp_path / "v", range(8, 21), form)
  (tmp_path / "v" / ".img_00001.jpg").touch()
  (tmp_path / "v" / "notes.txt").touch()
  save(tmp_path / "v", [8], "flow_x_{:05}.jpg")
  (tmp_path / "list.txt").write_text("v 0\n")
  wanted = np.array([12, 0, 3, 0])
  with sources.load(str(tmp_path / "list.txt")).open(0, 10) as video:
    assert video.num_frames == 13
    frames = video.read(wanted)
    times = video.times(wanted)
  names = [form.format(8 + place) for place in wanted]
  np.testing.assert_array_equal(frames, by_pillow(path, names))
  np.testing.assert_array_equal(times, np.zeros(4))
  # Each that is asked for, once.
  assert opened == [form.format(8 + place) for place in (0, 3, 12)]


def test_boxes_are_cut_as_of_an_image(tmp_path):
  path = save(tmp_path / "v", range(3))
  boxes = [lambda w, h: (w - 30, 2, 30, 30), lambda w, h: (0, 0, h, h)]
  with frame_folder.Frames(path, 10) as video:
    found = video.read([2, 1], boxes, 16)
    one = video.read([2], boxes[0], 16)
  for number, box in enumerate(boxes):
    for place, frame in enumerate((2, 1)):
      with stills.Still(f"{path}/img_{frame:05}.jpg") as still:
        np.testing.assert_array_equal(
          found[number, place], still.read([0], box, 16)[0]
        )
  np.testing.assert_array_equal(one, found[0, :1])


def test_a_picture_that_is_turned(tmp_path):
  path, exif = save(tmp_path / "v", [0]), PIL.Image.Exif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise
  PIL.Image.fromarray(picture(1).swapaxes(0, 1)).save(
    f"{path}/img_00001.jpg", exif=exif
  )
  with frame_folder.Frames(path, 10) as video:
    assert video.read([0, 1]).shape == (2, 36, 48, 3)
    video.check_sizes()


def refuse(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


def test_training_clips(folder, opened):
  """Only what a clip needs is read; a step is the same when resumed."""
  settings = settings_lib.Settings(
    data=settings_lib.Data(num_frames=4, stride=2, size=32, workers=1),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=4),
  )
  rows = sources.load(str(folder / "train.txt"))
  with pipeline.train_batches(settings, rows, on_bad=refuse) as batches:
    found = [next(batches) for _ in range(4)]
  assert len(opened) % 4 == 0
  numbers = [int(name[4:9]) for name in opened]
  assert (np.diff(np.reshape(numbers, (-1, 4))) == 2).all()
  with pipeline.train_batches(
    settings, rows, on_bad=refuse, start_step=3
  ) as batches:
    np.testing.assert_array_equal(next(batches)["video"], found[3]["video"])


def test_features_and_read_clip_cut_the_same(folder):
  clip = clips.read_clip(folder / "v3", num_frames=4, stride=2, size=32)
  names = [f"img_{number:05}.jpg" for number in (4, 6, 8, 10)]
  pixels = by_pillow(folder / "v3", names)[:, :, 8:40]
  np.testing.assert_array_equal(clip, pixels)


@pytest.mark.parametrize(
  "names, reason",
  [
    ((), "no picture in the folder"),
    (("img_1.jpg", "cover.jpg"), "2 kinds of names, such as cover.jpg and img"),
    (("img_1.jpg", "img_01.jpg"), "img_01.jpg and img_1.jpg are one frame"),
    (("1.jpg", "1.png"), "1.jpg and 1.png are one frame"),
  ],
)
def test_folders_without_an_order(names, reason, tmp_path):
  for name in names:
    (tmp_path / name).touch()
  with pytest.raises(DecodeError, match=reason):
    frame_folder.Frames(str(tmp_path), 10)


def test_what_is_wrong_with_a_picture_is_told_of_the_folder(tmp_path):
  path = save(tmp_path / "v", range(4))
  save(tmp_path / "v", [2], height=30)
  (tmp_path / "v" / "img_00003.jpg").write_bytes(b"no picture")
  (tmp_path / "list.txt").write_text("v 0\n")
  with frame_folder.Frames(path, 10) as video:
    assert video.read([0, 1]).shape == (2, 36, 48, 3)
    with pytest.raises(DecodeError, match=r"v: img_00003\.jpg: not a readable"):
      video.read([0, 3])
    with pytest.raises(DecodeError, match="frame 4 wanted of 4"):
      video.read([4])
    with pytest.raises(DecodeError) as caught:
      video.read([0, 2])
  assert caught.value.reason == (
    "its pictures differ in size: img_00002.jpg has 48 x 30 pixels, others "
    "have 48 x 36"
  )
  with frame_folder.Frames(path, 0) as late:  # noqa: SIM117
    with pytest.raises(DecodeError, match="timeout"):
      late.read([0])


@pytest.mark.parametrize(
  "numbers, note",
  [
    ((1, 2, 3, 4), ""),
    ((0, 5, 10, 15), ""),
    ((7,), ""),
    (
      (1, 2, 3, 5, 6, 9),
      "3 of its pictures are missing by their numbers, 1 to",
    ),
    ((0, 5, 10, 20, 25), "1 of its pictures are missing .* the first is 15"),
  ],
)
def test_holes_are_told(numbers, note, tmp_path):
  for number in numbers:
    (tmp_path / f"{number}.jpg").touch()
  found = frame_folder.ordered(str(tmp_path))
  assert found == tuple(f"{number}.jpg" for number in numbers)
  told = frame_folder.holes(found)
  assert re.match(note, told) if note else not told


def test_check_tells_of_holes_and_sizes(tmp_path, capsys):
  save(tmp_path / "fine", range(5))
  save(tmp_path / "holed", (0, 1, 3, 4))
  save(tmp_path / "sizes", range(90))
  # Neither in the middle clip nor at the end.
  save(tmp_path / "sizes", [1], width=40)
  save(tmp_path / "twin", range(5))
  names = ("fine", "holed", "sizes", "twin", "none")
  (tmp_path / "list.txt").write_text("".join(f"{n} 0\n" for n in names))
  code = command.main([str(tmp_path / "list.txt"), "--json", "--workers=1"])
  (found,) = json.loads(capsys.readouterr().out)["manifests"]
  assert code == 1 and found["readable"] == 3
  bad = {os.path.basename(u["file"]): u["reason"] for u in found["unreadable"]}
  assert bad.keys() == {"sizes", "none"}
  assert "img_00001.jpg has 40 x 36 pixels, others" in bad["sizes"]
  (note,) = found["notes"]
  assert note["file"] == f"{tmp_path}/holed" and "first is 2" in note["note"]
  assert found["codecs"] == {"frames (JPEG)": 3}
  assert found["sizes"] == {"48x36": 3}
  assert found["same_content"] == [[f"{tmp_path}/fine", f"{tmp_path}/twin"]]
  size = sum(p.stat().st_size for p in (tmp_path / "fine").iterdir())
  job = check_file.Job(str(tmp_path / "fine"), 10.0)
  assert check_file.examine(job).num_bytes == size


def test_records_hold_the_frames(tmp_path):
  data, out = tmp_path / "data", str(tmp_path / "records")
  save(data / "a" / "v", range(40), "{}.png")
  save(data / "b" / "w", range(5), "{}.png")
  summary = prepare.prepare(str(data), out, short_side=0, quality=95, workers=1)
  assert (summary["videos"], summary["frames"]) == (2, 45)
  found = records.Records(out)
  wanted = np.array([0, 33, 39])
  with found.open(0, 10) as video:
    assert video.num_frames == 40
    frames = video.read(wanted).astype(int)
    assert (video.times(wanted) == 0).all()
  apart = frames - np.stack([picture(number) for number in wanted])
  assert np.abs(apart).mean() < 8  # colours of JPEGs are of half the size
  job = prepare.encode.Job(0, str(tmp_path), 0, 0, 90, 10.0)
  assert "no picture" in prepare.encode.encode(job).reason


def test_a_folder_of_folders_serves_for_a_list(tmp_path, capsys):
  for name in ("x/sit/v1", "x/run/v2", "x/sit/v3", "y/v1", "y/v2"):
    save(tmp_path / name, range(2))
  rows = sources.load(str(tmp_path / "x"))
  assert rows.files == tuple(
    f"{tmp_path}/x/{name}" for name in ("run/v2", "sit/v1", "sit/v3")
  )
  assert rows.classes == ("run", "sit") and rows.labels.tolist() == [0, 1, 1]
  assert "x: 3 folders of pictures, each taken for the frames of one video" in (
    capsys.readouterr().err
  )
  rows = sources.load(str(tmp_path / "y"), classes=False)
  assert rows.labels.tolist() == [-1, -1]
  rows = class_folders.load(str(tmp_path / "y" / "v1"))
  assert rows.files == (str(tmp_path / "y" / "v1"),)
  splits.check_present("val", sources.load(str(tmp_path / "x")), 0.0)
  # Pictures beside videos are what they were.
  (tmp_path / "y" / "a.mp4").touch()
  assert class_folders.load(str(tmp_path / "y")).files == (
    f"{tmp_path}/y/a.mp4",
  )


@pytest.mark.parametrize("above", ["v", ""])
def test_folders_of_frames_in_each_other(above, tmp_path):
  save(tmp_path / above, range(2))
  save(tmp_path / "v" / "more", range(2))
  with pytest.raises(
    errors.UserError, match=r"also a folder of pictures, .*more"
  ):
    class_folders.load(str(tmp_path))


def test_a_picture_written_anew_is_another_video(tmp_path):
  path = save(tmp_path / "v", range(3))
  (tmp_path / "list.txt").write_text("v 0\n")
  rows = sources.load(str(tmp_path / "list.txt"))
  before = rows.identify(0)
  assert rows.identify(0) == before and json.dumps(before)
  save(tmp_path / "v", [1], height=30)
  assert rows.identify(0) != before
  os.utime(f"{path}/img_00002.jpg", ns=(1, 1))
  assert rows.identify(0) != before


def test_a_folder_elsewhere(tmp_path):
  """TensorFlow reads ram:// as it reads gs://."""
  path = save(tmp_path / "v", range(3))
  tf.io.gfile.makedirs(f"ram://{path}")
  for name in os.listdir(path):
    tf.io.gfile.copy(f"{path}/{name}", f"ram://{path}/{name}", overwrite=True)
  (tmp_path / "list.txt").write_text(f"ram://{path} 0\n")
  rows = sources.load(str(tmp_path / "list.txt"))
  with rows.open(0, 10) as far, frame_folder.Frames(path, 10) as near:
    np.testing.assert_array_equal(far.read([2, 0]), near.read([2, 0]))
  splits.check_present("val", rows, 0.0)
