"""ImageNet, CIFAR-100, DAVIS and YouTube-VOS."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sigma_jax.data import manifest, sources
from sigma_jax.data.annotations import sequences


def table(path, root=""):
  rows = manifest.load(str(path), str(root))
  names = [pathlib.Path(file).name for file in rows.files]
  return list(zip(names, rows.labels.tolist(), strict=True))


def names_of(out):
  return json.loads((out / "label_sets.json").read_text())["label"]["names"]


TRAIN = [
  ("n01440764_10026.JPEG", 0),
  ("n01440764_10027.JPEG", 0),
  ("n01443537_2.JPEG", 1),
]
VAL = [("ILSVRC2012_val_00000001.JPEG", 0), ("ILSVRC2012_val_00000002.JPEG", 1)]


def test_imagenet_with_the_development_kit(miniature, run, tmp_path):
  root, out = miniature("imagenet"), tmp_path / "out"
  kit = f"--devkit={root / 'ILSVRC2012_devkit_t12'}"
  code, _, stderr = run(
    "imagenet", f"--images={root}", f"--out={out}", kit, "--relative"
  )
  assert code == 0
  # The kit's numbers 2 and 1 are synsets 0 and 1.
  assert table(out / "train.csv", root) == TRAIN
  assert table(out / "val.csv", root) == VAL
  assert names_of(out) == ["tench, Tinca tinca", "goldfish, Carassius auratus"]
  missing = "val\tILSVRC2012_val_00000003\n"
  assert (out / "missing.txt").read_text() == missing
  assert "train: 3 images; ILSVRC 2012 has 1281167" in stderr
  source = sources.load(str(out / "val.csv"), str(root))
  with source.open(0, 10.0) as video:
    assert video.read(np.zeros(2, int)).shape == (2, 12, 16, 3)


def test_imagenet_with_kaggles_labels(miniature, run, tmp_path):
  root, out = miniature("imagenet"), tmp_path / "out"
  solution = f"--val-solution={root / 'LOC_val_solution.csv'}"
  assert run("imagenet", f"--images={root}", f"--out={out}", solution)[0] == 0
  assert table(out / "val.csv") == VAL
  assert names_of(out) == ["n01440764", "n01443537"]


def test_imagenet_with_folders(miniature, maker, run, tmp_path):
  root, out = miniature("imagenet"), tmp_path / "out"
  for path in (root / "val").iterdir():
    path.unlink()
  maker.images(root / "val", "n01443537/ILSVRC2012_val_00000002.JPEG")
  assert run("imagenet", f"--images={root}", f"--out={out}")[0] == 0
  assert table(out / "val.csv") == VAL[1:]
  assert table(out / "train.csv") == TRAIN
  maker.images(root / "val", "n99999999/ILSVRC2012_val_00000001.JPEG")
  code, _, stderr = run("imagenet", f"--images={root}", f"--out={out}")
  assert code == 2
  assert "none of train's synsets" in stderr


@pytest.mark.parametrize(
  ("path", "content", "options", "parts"),
  [
    (None, None, [], ["--devkit or --val-solution"]),
    (None, None, ["--devkit={root}/no"], ["data/meta.mat", "devkit"]),
    (None, None, ["--val-solution={root}/no"], ["cannot read"]),
    (
      "truth.csv",
      "a,b\n1,2\n",
      ["--val-solution={root}/truth.csv"],
      ["ImageId"],
    ),
    (
      "truth.csv",
      "ImageId,PredictionString\nx,n00000001 1 2\n",
      ["--val-solution={root}/truth.csv"],
      ["'n00000001'", "no folder"],
    ),
    (
      "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
      "3\n",
      ["--devkit={root}/ILSVRC2012_devkit_t12"],
      ["line 1", "'3'", "meta.mat"],
    ),
  ],
)
def test_imagenet_errors(
  miniature, run, tmp_path, path, content, options, parts
):
  root, out = miniature("imagenet"), tmp_path / "out"
  if path:
    (root / path).write_text(content)
  more = [option.format(root=root) for option in options]
  code, _, stderr = run("imagenet", f"--images={root}", f"--out={out}", *more)
  assert code == 2
  assert stderr.startswith("error: ") and stderr.count("\n") == 1
  for part in parts:
    assert part in stderr


def test_cifar100(miniatures, run, tmp_path, monkeypatch):
  out, data = tmp_path / "out", tmp_path / "tfds"
  call = ("cifar100", f"--tfds={data}", f"--out={out}")
  code, _, stderr = run(*call)
  assert code == 2
  assert "no cifar100 in" in stderr and "--download" in stderr
  cls = tfds.core.DatasetBuilder
  monkeypatch.setattr(cls, "download_and_prepare", miniatures.prepare)
  assert run(*call, "--download")[0] == 0
  monkeypatch.undo()
  text = (out / "train.csv").read_text()
  assert text == "images/train/00000.png 3\nimages/train/00001.png 10\n"
  assert table(out / "val.csv") == [("00000.png", 17)]
  assert names_of(out)[:2] == ["class 0", "class 1"]
  assert len(names_of(out)) == 100
  for number, file in enumerate(manifest.load(str(out / "train.csv")).files):
    stored = np.asarray(Image.open(file))
    np.testing.assert_array_equal(stored, miniatures.picture(number)["image"])
  assert run(*call)[0] == 0


@pytest.mark.parametrize("year", ["2016", "2017"])
def test_davis(miniature, run, tmp_path, year):
  root, out = miniature("DAVIS"), tmp_path / "out"
  with (root / f"ImageSets/{year}/val.txt").open("a") as file:
    file.write("libby\n")
  code, stdout, stderr = run(
    "davis", f"--root={root}", f"--out={out}", f"--year={year}"
  )
  assert code == 0
  assert "val: 1 sequences, 3 frames, 3 masks" in stdout
  assert "1 of 3 rows have no file" in stderr
  assert (out / "missing.txt").read_text() == "val\tlibby\n"
  (found,) = sequences.load(str(out / "val.jsonl"))
  assert found.name == "blackswan"
  assert [pathlib.Path(f).name for f in found.frames] == [
    "00000.jpg",
    "00001.jpg",
    "00002.jpg",
  ]
  mask = sequences.read_mask(found.masks[0])
  assert (mask.shape, mask.dtype, set(mask.ravel())) == (
    (12, 16),
    np.uint8,
    {0, 3},
  )
  # The folder itself can be given in a list's place.
  both = sequences.load(str(root))
  assert [one.name for one in both] == ["bear", "blackswan"]
  assert both[1] == found


def test_lists_of_the_first_davis(miniature, run, tmp_path):
  root, out = miniature("DAVIS"), tmp_path / "out"
  (root / "ImageSets/2016").rename(root / "ImageSets/480p")
  lines = [
    f"/JPEGImages/480p/bear/{n:05d}.jpg /Annotations/480p/bear/{n:05d}.png\n"
    for n in range(3)
  ]
  (root / "ImageSets/480p/train.txt").write_text("".join(lines))
  assert run("davis", f"--root={root}", f"--out={out}", "--year=2016")[0] == 0
  assert len(sequences.load(str(out / "train.jsonl"))) == 1


def test_youtube_vos(miniature, run, tmp_path):
  root, out = miniature("ytvos"), tmp_path / "out"
  assert run("youtube_vos", f"--root={root}", f"--out={out}")[0] == 0
  (train,) = sequences.load(str(out / "train.jsonl"))
  (valid,) = sequences.load(str(out / "valid.jsonl"))
  assert (train.name, len(train.frames)) == ("003234408d", 2)
  assert None not in train.masks
  # Of valid only first appearances are annotated.
  assert valid.masks[1] is None and valid.masks[0].endswith("00000.png")
  assert sequences.load(str(root / "train")) == (train,)


def change(root, path, content):
  if content is None:
    (root / path).unlink()
  else:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


@pytest.mark.parametrize(
  ("command", "name", "path", "content", "parts"),
  [
    ("davis", "DAVIS", "ImageSets/2017/val.txt", None, ["no val.txt"]),
    (
      "davis",
      "DAVIS",
      "ImageSets/2017/val.txt",
      b"cows\n",
      ["'cows'", "1 off"],
    ),
    (
      "davis",
      "DAVIS",
      "JPEGImages/480p/bear/00001.jpg",
      None,
      ["mask", "bear/00001.png", "no frame 00001.jpg"],
    ),
    ("youtube_vos", "ytvos", "train/meta.json", b"{}", ["'videos'"]),
    ("youtube_vos", "ytvos", "train/meta.json", None, ["cannot read"]),
    (
      "youtube_vos",
      "ytvos",
      "valid/Annotations/0062f687f1/00000.png",
      None,
      ["no *.png in", "0062f687f1"],
    ),
  ],
)
def test_segmentation_errors(
  miniature, run, tmp_path, command, name, path, content, parts
):
  root, out = miniature(name), tmp_path / "out"
  change(root, path, content)
  code, _, stderr = run(command, f"--root={root}", f"--out={out}")
  assert code == 2
  assert stderr.splitlines()[-1].startswith("error: ")
  for part in parts:
    assert part in stderr


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("", ["empty"]),
    ("{\n", ["line 1", '"frames"']),
    (
      '{"name": "a", "frames": ["x.jpg"], "masks": []}',
      ["1 frames and 0 masks"],
    ),
    ('{"name": "a", "frames": [], "masks": []}', ["0 frames"]),
    (
      '{"name": "a", "frames": ["x.jpg"], "masks": [null]}',
      ["no such file", "x.jpg"],
    ),
  ],
)
def test_lists_of_sequences_are_checked(tmp_path, text, parts):
  path = tmp_path / "list.jsonl"
  path.write_text(text)
  with pytest.raises(ValueError) as caught:
    sequences.load(str(path))
  assert "\n" not in str(caught.value)
  for part in [str(path), *parts]:
    assert part in str(caught.value)


def test_no_list_and_no_layout(tmp_path):
  with pytest.raises(FileNotFoundError, match="JPEGImages"):
    sequences.load(str(tmp_path / "no"))
  with pytest.raises(ValueError, match="is not laid out as"):
    sequences.load(str(tmp_path))


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA"])
def test_black_and_white_masks_have_ids_0_and_1(tmp_path, mode):
  white = np.zeros((4, 6), np.uint8)
  white[1:3, 2:] = 255
  image = Image.fromarray(white).convert(mode)
  image.save(tmp_path / "mask.png")
  mask = sequences.read_mask(str(tmp_path / "mask.png"))
  np.testing.assert_array_equal(mask, white // 255)
  assert mask.dtype == np.uint8


def test_pictures_and_damage_are_no_masks(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
  Image.fromarray(noise).save(tmp_path / "photo.png")
  with pytest.raises(ValueError, match=r"photo\.png is of mode RGB"):
    sequences.read_mask(str(tmp_path / "photo.png"))
  (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n")
  with pytest.raises(ValueError, match=r"cannot read mask .*bad\.png"):
    sequences.read_mask(str(tmp_path / "bad.png"))
