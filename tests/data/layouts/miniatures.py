"""Miniature copies of public data sets, in their official formats.

Names, columns, folders and quirks are the real ones; every video is the same 8
frames of 32 x 32 pixels, made distinct by a padding box.
"""

import itertools
import json
import pathlib
import struct

import numpy as np
import scipy.io
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

GYM = [f"A0xAXXysHUo_E_002184_{n:06d}_A_0035_0036" for n in range(12)]


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content if isinstance(content, str) else json.dumps(content))


class Maker:
  """Writes files that can be read and are all different."""

  def __init__(self, video: bytes):
    self._video, self._count = video, itertools.count()

  def videos(self, folder, *names):
    for name in names:
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      # An MP4 may end in a box of padding.
      box = struct.pack(">I4sQ", 16, b"free", next(self._count))
      path.write_bytes(self._video + box)

  def images(self, folder, *names):
    for name in names:
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      rng = np.random.default_rng(next(self._count))
      Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).save(path)

  def masks(self, folder, *names):
    for name in names:
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      ids = np.zeros((12, 16), np.uint8)
      ids[2:6, next(self._count) % 12 :] = 3
      mask = Image.fromarray(ids).convert("P")
      mask.putdata(ids.ravel().tolist())
      mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
      mask.save(path)


def kinetics(root, make):
  head = "label,youtube_id,time_start,time_end,split,is_cc\n"
  write(
    root / "annotations/train.csv",
    head + '"tap dancing",-3B32lodo2M,59,69,train,0\n'
    '"air drumming",_dbcJuKJQNs,40.0,50.0,train,0\n'
    '"massaging person\'s head",0aBcDeFgHiJ,0,10,train,1\n'
    "zumba,gonegonegon,1,11,train,0\n"
    "zumba,AAAAAAAAAAA,2,12,train,0\n",
  )
  write(
    root / "annotations/val.csv",
    head + '"air drumming",valvalvalva,40,50,val,0\n',
  )
  write(
    root / "annotations/test.csv",
    "youtube_id,time_start,time_end,split\ntesttesttes,0,10,test\n",
  )
  make.videos(
    root,
    "train/-3B32lodo2M_000059_000069.mp4",  # flat, as CVDF's archives
    "train/air drumming/_dbcJuKJQNs_000040_000050.mp4",
    "train/massaging_person's_head/0aBcDeFgHiJ_000000_000010.mp4",
    "train/AAAAAAAAAAA_000002_000012.mp4",
    "replacement/replacement_for_corrupted_k400/AAAAAAAAAAA_000002_000012.mp4",
    "val/air_drumming/valvalvalva_000040_000050.mp4",
  )


def ssv2(root, make):
  labels = {
    "Pushing something from left to right": "1",
    "Dropping something": "0",
  }
  entries = [
    {
      "id": "78687",
      "label": "pushing a cup from left to right",
      "template": "Pushing [something] from left to right",
      "placeholders": ["a cup"],
    },
    {"id": "42326", "label": "", "template": "Dropping [something]"},
  ]
  write(root / "labels/labels.json", labels)
  write(root / "labels/train.json", entries)
  write(root / "labels/validation.json", [dict(entries[1], id="74225")])
  write(root / "labels/test.json", [{"id": "1420"}])
  make.videos(
    root / "20bn-something-something-v2",
    "78687.webm",
    "42326.webm",
    "74225.webm",
  )


def ucf101(root, make):
  names = ["ApplyEyeMakeup", "HandstandPushups"]
  for split in (1, 2, 3):
    train = [
      f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{g:02d}_c01.avi 1\r\n"
      for g in range(8, 14)
    ]
    train += ["HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n"]
    test = f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{split:02d}_c01.avi\r\n"
    lists = root / "ucfTrainTestlist"
    write(lists / f"trainlist{split:02d}.txt", "".join(train))
    write(lists / f"testlist{split:02d}.txt", test)
  write(root / "ucfTrainTestlist/classInd.txt", f"1 {names[0]}\r\n2 {names[1]}")
  groups = [*range(1, 4), *range(8, 14)]
  make.videos(
    root / "UCF-101",
    *(f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{g:02d}_c01.avi" for g in groups),
    "HandstandPushups/v_HandstandPushups_g08_c01.avi",
  )


def hmdb51(root, make):
  lines = {
    "brush_hair": [("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", 1)],
    "wave": [
      ("#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", 2),
      ("prelinger_wave_1(a)!.avi", 1),
      ("unused_wave.avi", 0),
    ],
  }
  for name, rows in lines.items():
    for split in (1, 2, 3):
      text = "".join(f"{video} {code} \n" for video, code in rows)
      folder = root / "testTrainMulti_7030_splits"
      write(folder / f"{name}_test_split{split}.txt", text)
    make.videos(root / "videos", *(f"{name}/{video}" for video, _ in rows))


def diving48(root, make):
  row = {"vid_name": "", "label": 1, "start_frame": 0, "end_frame": 48}
  names = ["-mmq0PT-u8k_00155", "8qRmKunCjtY_00016"]
  write(root / "Diving48_V2_train.json", [dict(row, vid_name=names[0])])
  write(root / "Diving48_V2_test.json", [dict(row, vid_name=names[1], label=0)])
  vocab = [
    ["Back", "15som", "05Twis", "FREE"],
    ["Back", "15som", "NoTwis", "PIKE"],
  ]
  write(root / "Diving48_vocab.json", vocab)
  make.videos(root / "rgb", *(f"{name}.mp4" for name in names))


def gym99(root, make):
  labels = [0, 6, 6, 6, 16, 16, 74, 88, 98]
  train = "".join(f"{n} {c}\n" for n, c in zip(GYM, labels, strict=False))
  write(root / "annotations/gym99_train_element_v1.1.txt", train)
  val = f"{GYM[9]} 7\n{GYM[10]} 75\n{GYM[11]} 1\n"
  write(root / "annotations/gym99_val_element.txt", val)
  categories = "".join(
    f"Clabel: {c:3d}; set: 21; Glabel: {c + 60:3d}; (FX) element {c}\n"
    for c in range(99)
  )
  write(root / "annotations/gym99_categories.txt", categories)
  make.videos(root / "subactions", *(f"{name}.mp4" for name in GYM))


def charades(root, make):
  head = (
    "id,subject,scene,quality,relevance,verified,script,objects,descriptions,"
    "actions,length\n"
  )
  write(
    root / "Charades/Charades_v1_train.csv",
    head + '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking.",food;stove,"One. '
    'Two.",c092 11.90 21.20;c147 0.00 12.60,24.83\n'
    "N11GT,0KZ7,Stairs,6,7,Yes,Walking.,,Up.,,18.33\n",
  )
  write(
    root / "Charades/Charades_v1_test.csv",
    head + "YSKX3,AB12,Bed,5,6,Yes,Sleeps.,,Bed.,c001 0.00 5.00,12.00\n",
  )
  classes = "".join(f"c{c:03d} Doing thing {c}\n" for c in range(157))
  write(root / "Charades/Charades_v1_classes.txt", classes)
  make.videos(root / "Charades_v1_480", "46GP8.mp4", "N11GT.mp4", "YSKX3.mp4")


def ucfrep(root, make):
  bounds = {
    "train/v_JumpingJack_g05_c03": [5, 20, 36, 50],
    "train/v_JumpingJack_g06_c01": [5, 20],  # one repetition: left out
    "val/v_PullUps_g01_c02": [1, 40, 80],
  }
  for name, frames in bounds.items():
    path = root / f"annotations/{name}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    label = {
      "duration": float(frames[-1]),
      "start_frame": frames[0],
      "end_frame": frames[-1],
      "temporal_bound": np.asarray(frames, np.float64)[:, None],
    }
    scipy.io.savemat(str(path), {"label": label})
  make.videos(
    root / "UCF-101",
    "JumpingJack/v_JumpingJack_g05_c03.avi",
    "JumpingJack/v_JumpingJack_g06_c01.avi",
    "PullUps/v_PullUps_g01_c02.avi",
  )


def imagenet(root, make):
  make.images(
    root,
    "train/n01440764/n01440764_10026.JPEG",
    "train/n01440764/n01440764_10027.JPEG",
    "train/n01443537/n01443537_2.JPEG",
    "val/ILSVRC2012_val_00000001.JPEG",
    "val/ILSVRC2012_val_00000002.JPEG",
  )
  # The kit's ids are not in the order of the synsets.
  dtype = [
    ("ILSVRC2012_ID", "O"),
    ("WNID", "O"),
    ("words", "O"),
    ("gloss", "O"),
  ]
  rows = [
    (1, "n01443537", "goldfish, Carassius auratus", "a fish"),
    (2, "n01440764", "tench, Tinca tinca", "another fish"),
  ]
  synsets = np.array(rows, dtype)[:, None]
  kit = root / "ILSVRC2012_devkit_t12/data"
  kit.mkdir(parents=True)
  scipy.io.savemat(str(kit / "meta.mat"), {"synsets": synsets})
  write(kit / "ILSVRC2012_validation_ground_truth.txt", "2\n1\n1\n")
  write(
    root / "LOC_val_solution.csv",
    "ImageId,PredictionString\n"
    "ILSVRC2012_val_00000001,n01440764 111 108 431 202 \n"
    "ILSVRC2012_val_00000002,n01443537 0 1 2 3 n01443537 4 5 6 7 \n",
  )


def davis(root, make):
  for split, name in (("train", "bear"), ("val", "blackswan")):
    write(root / f"ImageSets/2017/{split}.txt", f"{name}\n")
    write(root / f"ImageSets/2016/{split}.txt", f"{name}\n")
    frames = [f"{number:05d}" for number in range(3)]
    make.images(root / "JPEGImages/480p" / name, *(f"{f}.jpg" for f in frames))
    make.masks(root / "Annotations/480p" / name, *(f"{f}.png" for f in frames))


def youtube_vos(root, make):
  for split, name, masks in (
    ("train", "003234408d", 2),
    ("valid", "0062f687f1", 1),
  ):
    objects = {"1": {"category": "dog", "frames": ["00000", "00005"]}}
    write(root / split / "meta.json", {"videos": {name: {"objects": objects}}})
    names = ["00000", "00005"]
    make.images(
      root / split / "JPEGImages" / name, *(f"{n}.jpg" for n in names)
    )
    make.masks(
      root / split / "Annotations" / name, *(f"{n}.png" for n in names[:masks])
    )


def picture(number):
  image = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
  label = 7 * number + 3
  return {"id": str(number), "image": image, "label": label, "coarse_label": 0}


def prepare(builder):
  """What its download_and_prepare leaves behind, with three images."""
  folder = pathlib.Path(builder.data_path)
  folder.mkdir(parents=True)
  features = builder.info.features
  # The names come with the download.
  features["label"].names = [f"class {label}" for label in range(100)]
  splits = []
  for split, numbers in (("train", (0, 1)), ("test", (2,))):
    path = folder / f"cifar100-{split}.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
      for number in numbers:
        example = features.encode_example(picture(number))
        writer.write(features.serialize_example(example))
    template = tfds.core.ShardedFileTemplate(
      data_dir=folder,
      dataset_name="cifar100",
      split=split,
      filetype_suffix="tfrecord",
    )
    splits.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(numbers)],
        num_bytes=0,
        filename_template=template,
      )
    )
  builder.info.set_splits(tfds.core.SplitDict(splits))
  builder.info.write_to_directory(folder)


BUILDERS = {
  "k400": kinetics,
  "k600": kinetics,
  "k700": kinetics,
  "ssv2": ssv2,
  "ucf101": ucf101,
  "hmdb51": hmdb51,
  "diving48": diving48,
  "gym99": gym99,
  "charades": charades,
  "ucfrep": ucfrep,
  "imagenet": imagenet,
  "DAVIS": davis,
  "ytvos": youtube_vos,
}
