"""Features of many videos: values, resuming, bad files, formats."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.inference import features, features_file
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint

av = pytest.importorskip("av")


def _video(path, seed, frames=6):
  random = np.random.default_rng(seed)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
    image = random.integers(0, 256, (32, 48, 3), np.uint8)
    for number in range(frames):
      picture = np.ascontiguousarray(np.roll(image, number, 1))
      container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode(None))


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory):
  """Seven videos, the fourth of them broken, and a manifest."""
  folder = tmp_path_factory.mktemp("videos")
  for i in range(7):
    _video(folder / f"{i}.mp4", i)
  (folder / "3.mp4").write_bytes(b"not a video")
  lines = [f"{i}.mp4 {10 + i}\n" for i in range(7)]
  (folder / "list.txt").write_text("".join(lines))
  return folder


@pytest.fixture(scope="module", name="run")
def run_fixture(tiny, tmp_path_factory):
  """A workdir with untrained weights."""
  workdir = tmp_path_factory.mktemp("run")
  params = sigma.init_params(tiny, jax.random.key(0))
  checkpoint.write_params(workdir, tiny, params)
  return workdir


def _main(run, manifest, out, *more):
  argv = [f"--init={run}", f"--manifest={manifest}", f"--out={out}"]
  return features.main([*argv, "--batch-size=2", "--part-size=2", *more])


def _load(path):
  with np.load(path) as arrays:
    return dict(arrays)


def test_features_are_the_encoders(run, folder, tmp_path, tiny, capsys):
  out = tmp_path / "sub" / "x.npz"
  assert _main(run, folder / "list.txt", out) == 0
  found = _load(out)
  rows = [0, 1, 2, 4, 5, 6]
  np.testing.assert_array_equal(found["row"], rows)
  np.testing.assert_array_equal(found["label"], [10 + i for i in rows])
  assert [pathlib.Path(p).name for p in found["path"]] == [
    f"{i}.mp4" for i in rows
  ]
  assert found["features"].dtype == np.float32
  assert found["features"].shape == (6, tiny.model.encoder_dim)
  listed = out.with_name("x.npz.bad.jsonl").read_text().splitlines()
  assert [json.loads(line)["file"] for line in listed] == [
    str(folder / "3.mp4")
  ]
  shown = capsys.readouterr()
  assert "6 x 32 features" in shown.out
  assert "1 unreadable" in shown.out
  assert "7/7 clips" in shown.err
  assert not out.with_name("x.npz.parts").exists()

  from sigma_jax.data import pipeline, sources

  listed = sources.load(str(folder / "list.txt"))
  with pipeline.eval_batches(
    tiny, listed, batch_size=7, on_bad=lambda *_: None
  ) as batches:
    batch = next(batches)
  pooled = sigma_jax.load(run).encode(batch["video"]).pooled
  np.testing.assert_allclose(
    found["features"], np.asarray(pooled)[rows], atol=1e-5
  )


@pytest.mark.parametrize("more", [{}, {"stride": 1}])
def test_read_clip_gives_the_pixels_of_features(run, folder, tmp_path, more):
  """Bitwise the pixels of the pipeline, and so the command's features."""
  out = tmp_path / "x.npz"
  flags = [f"--{name}={value}" for name, value in more.items()]
  assert _main(run, folder / "list.txt", out, *flags) == 0
  encoder = sigma_jax.load(run)
  names = [folder / f"{i}.mp4" for i in (0, 1, 2, 4, 5, 6)]
  video = np.stack([sigma_jax.read_clip(x, encoder, **more) for x in names])
  assert video.dtype == np.uint8 and video.shape == (6, 4, 16, 16, 3)
  np.testing.assert_allclose(
    _load(out)["features"], encoder.encode(video).pooled, atol=1e-5
  )
  from sigma_jax.data import pipeline, sources

  data = dataclasses.replace(encoder.settings.data, **more)
  settings = dataclasses.replace(encoder.settings, data=data)
  rows = sources.load(str(folder / "list.txt"))
  with pipeline.eval_batches(
    settings, rows, batch_size=7, on_bad=lambda *_: None
  ) as batches:
    (batch,) = batches
  np.testing.assert_array_equal(batch["video"][batch["valid"]], video)


def test_read_clip_by_itself(folder):
  clip = sigma_jax.read_clip(str(folder / "0.mp4"), num_frames=2, size=32)
  assert clip.shape == (2, 32, 32, 3)
  assert sigma_jax.read_clip(folder / "0.mp4").shape == (16, 224, 224, 3)
  with pytest.raises(errors.UserError, match=r"3\.mp4 cannot be read: "):
    sigma_jax.read_clip(folder / "3.mp4")
  with pytest.raises(errors.UserError, match=r"no\.mp4 cannot be read: "):
    sigma_jax.read_clip(folder / "no.mp4")


def test_relative_paths_start_at_the_root(run, folder, tmp_path):
  (tmp_path / "list.txt").write_text("1.mp4 0\n")
  out = tmp_path / "x.npz"
  assert _main(run, tmp_path / "list.txt", out, f"--root={folder}") == 0
  assert _load(out)["path"].tolist() == [str(folder / "1.mp4")]


def test_killed_run_goes_on(run, folder, tmp_path, monkeypatch):
  whole = tmp_path / "whole.npz"
  assert _main(run, folder / "list.txt", whole) == 0
  out, computed = tmp_path / "x.npz", []
  compute = features._compute

  def killed(rows, wanted, *rest):
    first = int(wanted[0])
    if first >= 4 and len(computed) == 2:
      raise KeyboardInterrupt
    computed.append(first)
    return compute(rows, wanted, *rest)

  monkeypatch.setattr(features, "_compute", killed)
  assert _main(run, folder / "list.txt", out) == 130
  parts = out.with_name("x.npz.parts")
  (parts / "part-000002.npz.tmp").write_bytes(b"cut off")
  assert sorted(p.name for p in parts.glob("part-*.npz")) == [
    "part-000000.npz",
    "part-000001.npz",
  ]
  assert not out.exists()
  computed.append(None)
  assert _main(run, folder / "list.txt", out) == 0
  # The broken file, 3, is tried once more.
  assert computed == [0, 2, None, 3, 4, 6]
  a, b = _load(whole), _load(out)
  assert set(a) == set(b)
  for name, array in a.items():
    np.testing.assert_array_equal(array, b[name])
  assert out.with_name("x.npz.bad.jsonl").exists()


def test_a_video_written_anew_is_another_one(
  run, folder, tmp_path, monkeypatch
):
  """Between two runs, under its old name; the other parts are kept."""
  copy = tmp_path / "copy"
  shutil.copytree(folder, copy)
  out, computed = tmp_path / "x.npz", []
  compute = features._compute

  def killed(rows, wanted, *rest):
    first = int(wanted[0])
    computed.append(first)
    if first >= 4 and len(computed) == 3:
      raise KeyboardInterrupt
    return compute(rows, wanted, *rest)

  monkeypatch.setattr(features, "_compute", killed)
  assert _main(run, copy / "list.txt", out) == 130
  shutil.copyfile(copy / "6.mp4", copy / "1.mp4")
  assert _main(run, copy / "list.txt", out) == 0
  # The broken file, 3, is tried once more.
  assert computed == [0, 2, 4, 0, 3, 4, 6]
  found = _load(out)["features"]
  np.testing.assert_allclose(found[1], found[-1], atol=1e-5)


def test_parts_of_another_job_are_not_used(
  run, folder, tmp_path, monkeypatch, capsys
):
  out = tmp_path / "x.npz"

  def killed(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(features, "_compute", killed)
  assert _main(run, folder / "list.txt", out) == 130
  assert _main(run, folder / "list.txt", out, "--stride=3") == 2
  assert "another job" in capsys.readouterr().err


def test_folder_to_parquet(run, folder, tmp_path):
  from pyarrow import parquet

  out = tmp_path / "x.parquet"
  assert _main(run, folder, out) == 0
  table = parquet.read_table(out)
  assert set(table.column_names) == {"features", "path", "row"}
  assert table.num_rows == 6
  assert len(table["features"][0]) == 32
  assert table["path"][3].as_py() == str(folder / "4.mp4")


def test_class_folders_are_the_labels(run, folder, tmp_path):
  for place in ("sit/0.mp4", "jump/high/1.mp4", "sit/2.mp4"):
    path = tmp_path / "videos" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / path.name, path)
  out = tmp_path / "x.npz"
  assert _main(run, tmp_path / "videos", out) == 0
  found = _load(out)
  assert found["label"].tolist() == ["jump", "sit", "sit"]
  names = [pathlib.Path(path).name for path in found["path"]]
  assert names == ["1.mp4", "0.mp4", "2.mp4"]
  from pyarrow import parquet

  assert _main(run, tmp_path / "videos", tmp_path / "x.parquet") == 0
  table = parquet.read_table(tmp_path / "x.parquet")
  assert table["label"].to_pylist() == ["jump", "sit", "sit"]


def test_an_outage_leaves_nothing_behind(
  run, folder, tmp_path, monkeypatch, capsys
):
  """Two of three files are away, the run is killed, all are back; then a run
  of the same --out that reads all has no list of bad files."""
  videos = tmp_path / "videos"
  videos.mkdir()
  for i in range(3):
    (videos / f"{i}.mp4").write_bytes((folder / f"{i}.mp4").read_bytes())
  away = [videos / "0.mp4", videos / "2.mp4"]
  (tmp_path / "list.csv").write_text(
    "".join(f"videos/{i}.mp4\n" for i in range(3))
  )
  whole, out = tmp_path / "whole.npz", tmp_path / "x.npz"
  assert _main(run, tmp_path / "list.csv", whole) == 0
  for path in away:
    path.rename(f"{path}.away")
  with monkeypatch.context() as patch:
    patch.setattr(features_file, "merge", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      _main(run, tmp_path / "list.csv", out)
  assert _main(run, tmp_path / "list.csv", whole) == 0
  assert len(_load(whole)["row"]) == 1
  assert len((tmp_path / "whole.npz.bad.jsonl").read_text().splitlines()) == 2
  for path in away:
    path.with_name(f"{path.name}.away").rename(path)
  for target in (out, whole):
    assert _main(run, tmp_path / "list.csv", target) == 0
    assert "unreadable" not in capsys.readouterr().out.splitlines()[-1]
    assert not tmp_path.joinpath(f"{target.name}.bad.jsonl").exists()
  first, second = _load(whole), _load(out)
  np.testing.assert_array_equal(first["row"], [0, 1, 2])
  for name, array in first.items():
    np.testing.assert_array_equal(array, second[name])


def test_linked_folders_are_followed(folder, tmp_path, capsys):
  """Links to other disks, one up the tree, one that leads nowhere."""
  (tmp_path / "disk" / "deep").mkdir(parents=True)
  (tmp_path / "videos" / "run").mkdir(parents=True)
  for name in ("disk/b.mp4", "disk/deep/c.MP4", "videos/run/a.mp4"):
    (tmp_path / name).touch()
  (tmp_path / "videos" / "jump").symlink_to(tmp_path / "disk")
  (tmp_path / "videos" / "run" / "up").symlink_to(tmp_path / "videos")
  (tmp_path / "videos" / "sit").symlink_to(tmp_path / "no disk")
  (tmp_path / "videos" / "gone.mp4").symlink_to(tmp_path / "no disk" / "x.mp4")
  (tmp_path / "videos" / "d.mp4").symlink_to(tmp_path / "disk" / "b.mp4")
  rows, labelled = features._list(str(tmp_path / "videos"), "")
  names = ["d.mp4", "gone.mp4", "jump/b.mp4", "jump/deep/c.MP4", "run/a.mp4"]
  assert rows.files == tuple(str(tmp_path / "videos" / n) for n in names)
  assert not labelled
  err = capsys.readouterr().err
  assert err.count("warning") == 1
  assert f"{tmp_path / 'videos' / 'sit'} is a link to" in err


def test_labels_may_be_anything(run, folder, tmp_path):
  """Names come back as they are; lists without labels have no such column."""
  (folder / "names.csv").write_text("0.mp4 run, fast\n1.mp4,sit\n2.mp4 sit\n")
  assert _main(run, folder / "names.csv", tmp_path / "names.npz") == 0
  names = _load(tmp_path / "names.npz")
  assert names["label"].tolist() == ["run, fast", "sit", "sit"]
  (folder / "pre.csv").write_text("0.mp4 0 -1\n1.mp4 0 -1\n2.mp4 0 -1\n")
  assert _main(run, folder / "pre.csv", tmp_path / "pre.parquet") == 0
  from pyarrow import parquet

  table = parquet.read_table(tmp_path / "pre.parquet")
  assert set(table.column_names) == {"features", "path", "row"}
  found = np.stack(table["features"].to_numpy())
  np.testing.assert_array_equal(found, names["features"])


@pytest.mark.parametrize(
  "change, code, message",
  [
    ({"init": "nowhere"}, 2, "no such checkpoint"),
    ({"manifest": "nowhere"}, 2, "does not exist"),
    ({"manifest": "{empty}"}, 2, "no videos in"),
    ({"manifest": "{broken}"}, 1, "none of the 1 files"),
    ({"out": "x.csv"}, 2, "must end in .npz or .parquet"),
  ],
)
def test_errors_are_one_line(
  run, folder, tmp_path, change, code, message, capsys
):
  empty, broken = tmp_path / "empty", tmp_path / "broken"
  empty.mkdir()
  broken.mkdir()
  (broken / "0.mp4").write_bytes(b"not a video")
  given = {"init": run, "manifest": folder, "out": tmp_path / "x.npz"}
  given |= {
    name: text.format(empty=empty, broken=broken)
    for name, text in change.items()
  }
  assert _main(given["init"], given["manifest"], given["out"]) == code
  lines = capsys.readouterr().err.splitlines()
  assert lines[-1].startswith("error: ")
  assert message in lines[-1]
