"""Videos in tars that the webdataset package wrote: the rows of any source."""

import io
import json
import os
import tarfile

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
import webdataset

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, prepare, sources
from sigma_jax.data.check import command
from sigma_jax.data.check import file as check_file
from sigma_jax.data.tars import index, members
from sigma_jax.data.tars import names as tar_names
from sigma_jax.data.video.containers import DecodeError
from sigma_jax.data.video.decode import decode_frames
from sigma_jax.settings.data import Reading

LONG = "a very long folder's name " * 8
SETTINGS = settings_lib.Settings(
  data=settings_lib.Data(num_frames=4, stride=2, size=32, workers=2),
  model=settings_lib.Model(patch=4),
  train=settings_lib.Train(batch_size=4),
)


def told(row):
  """What stands beside a video."""
  return {
    "cls": row,
    "json": {"label": f"class {row % 3}", "number": row + 1},
    "txt": f"a caption, {row}\n",
  }


def write(folder, videos, count=5, **more):
  """Shards of `count` videos each; files that are beside each by suffix."""
  pattern = f"{folder}/shards-%06d.tar"
  with webdataset.ShardWriter(pattern, maxcount=count, verbose=0) as writer:
    for row in range(13):
      video = (videos / f"{row}.mp4").read_bytes()
      key = f"{LONG if row == 7 else 'part'}/{row:05d}"
      beside = more.get("beside", told)(row)
      writer.write({"__key__": key, "mp4": video, **beside})
  return folder


@pytest.fixture(scope="module")
def shards(video_folder, tmp_path_factory):
  """Three shards of the 13 videos."""
  return write(tmp_path_factory.mktemp("shards"), video_folder)


@pytest.fixture
def fresh(video_folder, tmp_path):
  """Shards of one test, to be spoilt."""
  return write(tmp_path, video_folder)


def rewrite(path, **files):
  """A tar of these files; a name's first two underscores are its dot."""
  with tarfile.open(path, "w") as tar:
    for name, content in files.items():
      info = tarfile.TarInfo(name.replace("__", ".", 1))
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
  "meant", ["/shards-{000000..000002}.tar", "/shards-*.tar", ""]
)
def test_rows_are_the_videos(meant, shards, video_folder):
  rows = sources.load(f"{shards}{meant}")
  assert len(rows) == 13 and rows.classes == ()
  np.testing.assert_array_equal(rows.labels, np.arange(13))
  assert rows.files[6] == f"{shards}/shards-000001.tar/part/00006.mp4"
  assert LONG in rows.files[7]
  indices = np.array([9, 0, 4])
  for row in (0, 7, 12):
    with rows.open(row, 10) as video:
      assert video.num_frames == 10 + row
      np.testing.assert_array_equal(
        video.read(indices),
        decode_frames(str(video_folder / f"{row}.mp4"), indices),
      )
      np.testing.assert_allclose(video.times(np.arange(3)), [0, 0.04, 0.08])


def test_one_tar_and_some_of_them(shards):
  assert len(sources.load(f"{shards}/shards-000002.tar")) == 3
  some = sources.load(f"{shards}/shards-{{000002..000002}}.tar")
  assert some.labels.tolist() == [10, 11, 12]
  some = sources.load(f"{shards}/shards-00000{{2,0}}.tar")
  assert some.labels.tolist() == [10, 11, 12, 0, 1, 2, 3, 4]


def test_batches_are_those_of_the_files(shards, video_folder):
  """Permuted alike, and the same from a later step on."""

  def batches(source, start, count):
    with pipeline.train_batches(
      SETTINGS, source, on_bad=refuse, start_step=start
    ) as found:
      return [next(found) for _ in range(count)]

  rows = sources.load(str(shards))
  files = sources.load(str(video_folder / "train.txt"))
  found = batches(rows, 0, 5)
  for one, other in zip(found, batches(files, 0, 5), strict=True):
    assert one.keys() == other.keys()
    for name in one:
      np.testing.assert_array_equal(one[name], other[name])
  for one, other in zip(found[3:], batches(rows, 3, 2), strict=True):
    np.testing.assert_array_equal(one["video"], other["video"])


def refuse(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


@pytest.fixture
def read_tars(monkeypatch):
  """Names of the tars whose headers have been read."""
  names, read = [], members.read

  def counted(path):
    names.append(os.path.basename(path))
    return read(path)

  monkeypatch.setattr(members, "read", counted)
  return names


def test_a_tar_is_indexed_once_until_it_changes(fresh, read_tars, capsys):
  before = sources.load(str(fresh))
  assert sorted(read_tars) == [f"shards-00000{i}.tar" for i in range(3)]
  assert (
    f"index of 3 tar files: {fresh}/{index.NAME}" in capsys.readouterr().err
  )
  table = pyarrow.parquet.read_table(fresh / index.NAME)
  assert table["cls"].to_pylist() == list(map(str, range(13)))
  assert table["shard"][5].as_py() == "shards-000001.tar"
  read_tars.clear()
  assert sources.load(f"{fresh}/shards-*.tar").files == before.files
  assert not read_tars
  identity = before.identify(0), before.identify(12)
  rewrite(fresh / "shards-000002.tar", new__mp4=b"x", new__cls=b"3")
  # Those of before do not know it.
  with pytest.raises(DecodeError, match="changed since it was indexed"):
    before.open(12, 10)
  after = sources.load(str(fresh))
  assert read_tars == ["shards-000002.tar"]
  assert "1 tar files have changed" in capsys.readouterr().err
  assert after.labels.tolist() == [*range(10), 3]
  assert after.identify(0) == identity[0]
  assert after.identify(10)[1:] != identity[1][1:]
  # A touch alone may be a change.
  os.utime(fresh / "shards-000000.tar", ns=(1, 1))
  read_tars.clear()
  sources.load(str(fresh))
  assert read_tars == ["shards-000000.tar"]


def test_a_damaged_index_is_made_anew(fresh, read_tars, capsys):
  rows = sources.load(str(fresh))
  (fresh / index.NAME).write_bytes(b"PAR1, but no more")
  read_tars.clear()
  assert sources.load(str(fresh)).files == rows.files
  assert len(read_tars) == 3
  assert "is damaged or of another version" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(
  fresh, read_tars, monkeypatch, tmp_path, capsys
):
  allowed, put = [str(tmp_path / "cache")], index._put

  def only_there(path, data):
    if not path.startswith(tuple(allowed)):
      raise PermissionError(13, "Permission denied", path)
    put(path, data)

  monkeypatch.setattr(index, "_put", only_there)
  monkeypatch.setenv("XDG_CACHE_HOME", allowed[0])
  rows = sources.load(f"{fresh}/shards-*.tar")
  err = capsys.readouterr().err
  assert f"{allowed[0]}/sigma_jax/tars/" in err
  assert f"since it cannot be in {fresh} ([Errno 13]" in err
  assert not (fresh / index.NAME).exists()
  read_tars.clear()
  assert sources.load(f"{fresh}/shards-*.tar").files == rows.files
  assert not read_tars
  os.utime(fresh / "shards-000000.tar", ns=(1, 1))
  allowed.clear()
  assert sources.load(f"{fresh}/shards-*.tar").files == rows.files
  assert "kept nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
  "wanted, labels, classes",
  [
    ("cls", range(13), ()),
    ("json", [i % 3 for i in range(13)], ("class 0", "class 1", "class 2")),
    ("json:number", range(1, 14), ()),
  ],
)
def test_labels_are_what_is_asked_for(wanted, labels, classes, shards):
  rows = sources.load(str(shards), reading=Reading(tar_labels=wanted))
  assert rows.labels.tolist() == list(labels) and rows.classes == classes
  assert rows.labels.dtype == np.int32


def test_names_count_as_the_training_split_counts_them(shards):
  path, names = f"{shards}/shards-000000.tar", ("class 0", "class 1", "class 2")
  more = ("a", *names, "z")
  rows = sources.load(path, names=more, reading=Reading(tar_labels="json"))
  assert rows.classes == more and rows.labels.tolist() == [1, 2, 3, 1, 2]
  with pytest.raises(
    errors.UserError, match=r"\(json:label\) has the class 'class 2', which"
  ):
    sources.load(path, names=names[:2], reading=Reading(tar_labels="json"))


def test_labels_that_are_not_there(video_folder, tmp_path, capsys):
  write(tmp_path, video_folder, beside=lambda r: {"txt": "x"} if r else {})
  with pytest.raises(errors.UserError, match=r"00000.mp4 has no label \(txt\)"):
    sources.load(str(tmp_path))
  rows = sources.load(str(tmp_path), classes=False)
  assert rows.classes == ("", "x") and rows.labels.tolist() == [0] + [1] * 12
  for wanted in ("cls", "json:label"):
    with pytest.raises(errors.UserError, match="has no label"):
      sources.load(str(tmp_path), reading=Reading(tar_labels=wanted))
  rows = sources.load(
    str(tmp_path), classes=False, reading=Reading(tar_labels="cls")
  )
  assert (rows.labels == -1).all() and rows.classes == ()
  with pytest.raises(errors.UserError, match=r"data\.tar_labels is 'label'"):
    sources.load(str(tmp_path), reading=Reading(tar_labels="label"))


def test_json_that_says_no_label(tmp_path, capsys):
  path = tmp_path / "a.tar"
  texts = {"a__json": b'{"label": 2.0}', "b__json": b'{"label": 3'}
  rewrite(path, a__mp4=b"x", b__mp4=b"x", **texts)
  with pytest.raises(
    errors.UserError, match=r"b\.mp4: the \.json beside it is"
  ):
    sources.load(str(path))
  rows = sources.load(str(path), classes=False)
  assert rows.labels.tolist() == [2, -1]
  assert "labels are those of json:label\n" in capsys.readouterr().err
  rewrite(path, a__mp4=b"x", a__json=b'{"label": true}', a__txt=b"run")
  assert sources.load(str(path)).classes == ("run",)
  rewrite(path, a__mp4=b"x", a__json=b"[", a__txt=b"run", a__cls=b"-3")
  with pytest.raises(errors.UserError, match=r"label -3 \(cls\) is out of"):
    sources.load(str(path))
  assert "there is .json and .txt too" in capsys.readouterr().err


def test_what_is_beside_no_video_is_told(tmp_path, capsys):
  rewrite(tmp_path / "a.tar", b__mp4=b"x", b__cls=b"1", c__json=b"{}")
  assert len(sources.load(str(tmp_path))) == 1
  err = capsys.readouterr().err
  assert "1 samples have no video beside their texts" in err
  assert f"{tmp_path}/a.tar/c" in err


def test_names_with_dots(tmp_path):
  """Texts are those of the whole name, else of what webdataset takes for it."""
  path = tmp_path / "a.tar"
  files = {"v__1.mp4": b"x", "v__1.cls": b"1", "v__2.MP4": b"x", "v__cls": b"2"}
  rewrite(path, **files, **{"._v__mp4": b"mac", "v__readme": b"-"})
  rows = sources.load(str(path))
  assert [os.path.basename(name) for name in rows.files] == [
    "v.1.mp4",
    "v.2.MP4",
  ]
  assert rows.labels.tolist() == [1, 2]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_both_kinds(form, tmp_path):
  name = f"{'long ' * 30}/{'é' * 70}.mp4"
  with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
    tar.addfile(tarfile.TarInfo("folder.mp4/"))
    info = tarfile.TarInfo(name)
    info.size = 3
    tar.addfile(info, io.BytesIO(b"abc"))
  rows = sources.load(str(tmp_path / "a.tar"), classes=False)
  assert [f for f in rows.files if "folder" not in f] == [
    f"{tmp_path}/a.tar/{name}"
  ]
  assert rows.address(len(rows) - 1).read() == b"abc"


def cut(path, place):
  """Cuts a tar before a place, or the end."""
  data = path.read_bytes()
  path.write_bytes(data[:place])


def spoil_header(path):
  with tarfile.open(path) as tar:
    place = tar.getmembers()[4].offset
  data = bytearray(path.read_bytes())
  data[place : place + 512] = b"z" * 512
  path.write_bytes(data)


def cut_members(path):
  """At the end of a member: only the mark of the end is missing."""
  with tarfile.open(path) as tar:
    cut(path, tar.getmembers()[-1].offset)


def make_sparse(path):
  """A file with a hole, as GNU tar --sparse stores it."""
  info = tarfile.TarInfo("a.mp4")
  info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
  head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
  head[386:410], head[483:495] = (
    b"00000000000\x0000000001000\x00",
    b"00000002000\x00",
  )
  head[148:156] = b" " * 8
  head[148:156] = f"{sum(head):06o}\0 ".encode()
  path.write_bytes(bytes(head) + bytes(512 + 1024))


@pytest.mark.parametrize(
  "spoil, reason",
  [
    (lambda p: cut(p, 700), "cut short or damaged"),
    (lambda p: cut(p, -20_000), "cut short"),
    (cut_members, "without the mark of its end"),
    (spoil_header, "damaged: no header at byte"),
    (lambda p: cut(p, 0), "it is empty"),
    (lambda p: p.write_text("no tar" * 200), "cut short or damaged"),
    (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(90)), "compressed .gzip."),
    (lambda p: rewrite(p, a__mp4=b"", a__MP4=b""), "two videos of one name"),
    (lambda p: rewrite(p, a__mp4=b"", a__webm=b""), "a.mp4 and a.webm, two"),
    (make_sparse, "a.mp4 is stored with holes"),
  ],
)
def test_tars_that_are_no_good(spoil, reason, fresh, read_tars):
  spoil(fresh / "shards-000001.tar")
  with pytest.raises(errors.UserError, match=reason) as caught:
    sources.load(str(fresh))
  assert f"1 of 3 tar files cannot be used, the first is {fresh}" in str(
    caught.value
  )
  # What is good is not read again.
  read_tars.clear()
  with pytest.raises(errors.UserError):
    sources.load(str(fresh))
  assert read_tars == ["shards-000001.tar"]


def test_a_text_twice(tmp_path):
  with tarfile.open(tmp_path / "a.tar", "w") as tar:
    for name in ("a.cls", "b.mp4", "a.cls"):
      tar.addfile(tarfile.TarInfo(name))
  with pytest.raises(errors.UserError, match=r"it holds a\.cls twice"):
    sources.load(str(tmp_path))


@pytest.mark.parametrize(
  "meant, reason",
  [
    ("x-{0..3}.tar", "4 of 4 tar files are not there, the first is .*x-0.tar"),
    ("x-{3..1}.tar", "no range of numbers"),
    ("x-{a..c}.tar", "no range of numbers"),
    ("x-{0..99999999}.tar", "stands for 100000000 tar files"),
    ("y-*.tar", "no tar file matches"),
    ("z.tar", "1 of 1 tar files are not there"),
    ("x.tar.gz", "is a compressed tar"),
    ("packed", "0.tgz is a compressed tar"),
    ("both", "holds tar shards and also sub/a.mp4"),
    ("none", "no video in .*none"),
  ],
)
def test_what_is_no_set_of_tars(meant, reason, tmp_path):
  for name in ("packed/0.tgz", "packed/1.tgz", "both/a.tar", "both/sub/a.mp4"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  (tmp_path / "none").mkdir()
  rewrite(tmp_path / "none" / "a.tar", a__jpg=b"x")
  with pytest.raises((errors.UserError, FileNotFoundError), match=reason):
    sources.load(str(tmp_path / meant))


@pytest.mark.parametrize(
  "meant, names",
  [
    ("{8..10}", ["8", "9", "10"]),
    ("{08..10}", ["08", "09", "10"]),
    ("{8..010}", ["008", "009", "010"]),
    ("{b,a}{0..1}", ["b0", "b1", "a0", "a1"]),
    ("{7..7}-{,x}", ["7-", "7-x"]),
  ],
)
def test_braces_count_as_in_bash(meant, names):
  assert tar_names.of(f"{meant}.tar") == tuple(f"{n}.tar" for n in names)


def test_shards_elsewhere(shards, read_tars):
  """TensorFlow reads ram:// as it reads gs://."""
  far = f"ram://{shards}"
  for path in shards.glob("*.tar"):
    tf.io.gfile.makedirs(far)
    tf.io.gfile.copy(str(path), f"{far}/{path.name}", overwrite=True)
  near = sources.load(str(shards))
  read_tars.clear()
  for meant in ("/shards-{000000..000002}.tar", "/shards-*.tar", ""):
    rows = sources.load(far + meant)
    assert rows.labels.tolist() == near.labels.tolist()
  assert len(read_tars) == 3 and tf.io.gfile.exists(f"{far}/{index.NAME}")
  with rows.open(7, 10) as one, near.open(7, 10) as other:
    np.testing.assert_array_equal(one.read([3, 8]), other.read([3, 8]))
  for name in ("shards-000001.tar", index.NAME):
    tf.io.gfile.remove(f"{far}/{name}")  # ram:// appends to what there is
  with tf.io.gfile.GFile(f"{far}/shards-000001.tar", "wb") as file:
    file.write((shards / "shards-000002.tar").read_bytes())
  assert len(sources.load(far)) == 11


def test_records_of_tars_are_those_of_the_files(shards, video_folder, tmp_path):
  rows = prepare._rows(str(shards), "")
  assert rows.labels.tolist() == list(range(13))
  found = [
    prepare.encode.encode(
      prepare.encode.Job(1, "name", 1, 32, 85, 10.0, address)
    )
    for address in (rows.address(3), str(video_folder / "3.mp4"))
  ]
  assert not found[0].reason and found[0] == found[1]


def test_names_are_kept_for_records(shards):
  rows = prepare._rows(str(shards), "", Reading(tar_labels="json"))
  read = sources.load(str(shards), reading=Reading(tar_labels="json"))
  assert rows.classes == read.classes and len(rows.classes) > 1
  np.testing.assert_array_equal(rows.labels, read.labels)
  assert rows.address(12).size


def test_a_member_is_checked_as_its_file_is(shards, video_folder, tmp_path):
  rows = sources.load(str(shards))
  jobs = [
    check_file.Job(path, 10.0, full=True)
    for path in (rows.address(4), str(video_folder / "4.mp4"))
  ]
  one, other = map(check_file.examine, jobs)
  assert not one.reason and one.num_frames == 14 and one.codec == "h264"
  assert one.alike == other.alike == one.num_bytes == other.num_bytes
  assert check_file.digest(jobs[0]) == check_file.digest(jobs[1])
  rewrite(tmp_path / "a.tar", a__mp4=b"no video", b__mp4=b"")
  rows = sources.load(str(tmp_path), classes=False)
  reasons = [
    check_file.examine(check_file.Job(rows.address(row), 10.0)).reason
    for row in range(2)
  ]
  assert "not a readable video" in reasons[0] and "empty" in reasons[1]


def test_check_of_shards(shards, capsys):
  path = f"{shards}/shards-{{000001..000002}}.tar"
  assert command.main([path, "--json", "--workers=1", "--tar-labels=txt"]) == 0
  (found,) = json.loads(capsys.readouterr().out)["manifests"]
  assert (found["rows"], found["readable"]) == (8, 8)
  assert (
    found["codecs"] == {"h264": 8} and found["classes"]["a caption, 9"] == 1
  )
  assert found["bytes"] == int(sources.load(path).places[:, 2].sum())
