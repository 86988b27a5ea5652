"""Features of long videos: windows, times, pixels, going on, formats."""

import json
import pathlib

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import settings as settings_lib
from sigma_jax.data import crops, over_time, passes, sources
from sigma_jax.data import sampling as samples
from sigma_jax.inference import features, over_time_files
from sigma_jax.inference import over_time as command
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint

av = pytest.importorskip("av")

RATE = 25


def test_windows_begin_every_so_many_seconds_and_end_with_the_video():
  times = np.arange(250) / RATE  # ten seconds
  found = over_time.starts(times, 50, 1.0)
  assert found.tolist() == [0, 25, 50, 75, 100, 125, 150, 175, 200]
  # Frames are left: a last window ends with the last one.
  found = over_time.starts(times, 60, 1.0)
  assert found.tolist() == [0, 25, 50, 75, 100, 125, 150, 175, 190]
  assert over_time.starts(times, 250, 1.0).tolist() == [0]
  assert over_time.starts(times, 251, 1.0).tolist() == [0]
  assert over_time.starts(times[:1], 8, 1.0).tolist() == [0]
  # The nearest frame, as 29.97 frames a second have none at whole seconds.
  times = np.arange(600) * 1001 / 30_000
  found = over_time.starts(times, 64, 2.0)
  assert found[:4].tolist() == [0, 60, 120, 180] and found[-1] == 536
  assert np.abs(times[found[:-1]] - 2 * np.arange(9)).max() < 0.5 / 29.97


def test_windows_follow_the_times_where_the_rate_varies():
  """Ten frames a second, one picture for five seconds, two a second."""
  times = np.concatenate([np.arange(20) / 10, [2.0], 7 + np.arange(20) / 2])
  found = over_time.starts(times, 4, 1.0)
  wanted = [0, 10, 20, 21, 23, 25, 27, 29, 31, 33, 35, 37]
  assert found.tolist() == wanted  # at 0 1 2 7 8 .. 15 s, the picture once


class _Numbers:
  """A pass whose frames are their numbers; each comes once, in order."""

  def __init__(self, num_frames):
    self.num_frames, self.times = num_frames, np.arange(num_frames) / RATE

  def read(self, groups, *_):
    last = -1
    for group in groups:
      assert group[0] > last and (np.diff(group) > 0).all()
      last = group[-1]
      yield group.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("sampling", ["dense", "segments"])
def test_batches_have_the_frames_of_their_windows(sampling):
  """However windows overlap and frames of several lie between each other."""
  rng = np.random.default_rng(0)
  for _ in range(100):
    frames, stride, length = rng.integers(1, (9, 9, 300)).tolist()
    data = settings_lib.Data(
      num_frames=frames, stride=stride, sampling=sampling
    )
    windows = over_time.Windows(
      _Numbers(length), data, frames * stride, rng.uniform(0.05, 3)
    )
    first = int(rng.integers(len(windows)))
    cuts = np.unique(rng.integers(first, len(windows), 5))
    ends = [*cuts[cuts > first], len(windows)]
    clips = list(windows.clips(first, np.diff([first, *ends]).tolist()))
    found = np.concatenate(clips)[..., 0, 0, 0]
    offsets = found[0] - round(windows.start[first] * RATE)
    wanted = np.rint(windows.start[first:] * RATE).astype(int)
    np.testing.assert_array_equal(found, wanted[:, None] + offsets)
    np.testing.assert_array_equal(
      offsets, samples.view_indices(data, min(frames * stride, length))
    )


def _video(path, frames, seed=0, stamps=None, height=32, width=48):
  random = np.random.default_rng(seed)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=RATE)
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.options = {"g": "20"}
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    for number in range(frames):
      picture = np.ascontiguousarray(np.roll(image, 3 * number, 1))
      frame = av.VideoFrame.from_ndarray(picture, "rgb24")
      if stamps is not None:
        frame.pts = round(stamps[number] * RATE)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
  """A clip of 50 frames, five times: ten seconds."""
  folder = tmp_path_factory.mktemp("loop")
  _video(folder / "once.mp4", 50)
  with av.open(str(folder / "once.mp4")) as source:
    stream = source.streams.video[0]
    packets = [packet for packet in source.demux(stream) if packet.size]
    step = round(1 / stream.average_rate / stream.time_base)
    with av.open(str(folder / "loop.mp4"), "w") as out:
      copy = out.add_stream_from_template(stream)
      for turn in range(5):
        for old in packets:
          new = av.Packet(bytes(old))
          new.stream, new.time_base = copy, stream.time_base
          new.pts = old.pts + 50 * turn * step
          new.dts = old.dts + 50 * turn * step
          new.duration, new.is_keyframe = step, old.is_keyframe
          out.mux(new)
  return folder / "loop.mp4"


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
  """A workdir with untrained weights: clips of 4 frames, 4 apart."""
  workdir = tmp_path_factory.mktemp("run")
  params = sigma.init_params(tiny, jax.random.key(0))
  checkpoint.write_params(workdir, tiny, params)
  return workdir


def _list(folder, *paths):
  path = pathlib.Path(folder, "list.csv")
  path.write_text("".join(f"{one}\n" for one in paths))
  return path


def _main(run, manifest, out, *more):
  argv = [f"--init={run}", f"--manifest={manifest}", f"--out={out}"]
  return features.main([*argv, "--batch-size=4", "--every=0.5", *more])


def _load(path):
  with np.load(path) as arrays:
    return dict(arrays)


def test_a_window_is_a_video_by_itself(run, loop, tmp_path, tiny, capsys):
  """The pixels of a window are those that `features` sees of its frames."""
  data = tiny.data
  rows = sources.load(str(_list(tmp_path, loop)), classes=False)
  with passes.opened(rows, 0, 30) as video:
    windows = over_time.Windows(video, data, 16, 0.5)
    clips = np.concatenate(list(windows.clips(0, [3] * 6 + [2])))
    later = np.concatenate(list(windows.clips(5, [8, 7])))
  np.testing.assert_array_equal(later, clips[5:])
  first = np.array([0, 12, 25, 37, 50, 62, 75, 87, 100])  # ties: earlier
  np.testing.assert_allclose(windows.start[:9], first / RATE)
  np.testing.assert_allclose(windows.end - windows.start, 15 / RATE)
  assert windows.end[-1] == pytest.approx(249 / RATE)
  with rows.open(0, 30) as video:
    middle = np.arange(1, 16, 4)  # of 16 frames, 4 of them 4 apart
    for number, start in enumerate(first):
      wanted = video.read(start + middle, crops.square, data.size)
      np.testing.assert_array_equal(clips[number], wanted)
  out = tmp_path / "out"
  assert _main(run, tmp_path / "list.csv", out) == 0
  found = _load(out / "000000_loop.npz")
  assert set(found) == {"features", "start", "end", "path"}
  assert found["features"].dtype == np.float32
  assert found["features"].shape == (len(windows), tiny.model.encoder_dim)
  np.testing.assert_array_equal(found["start"], windows.start)
  np.testing.assert_array_equal(found["end"], windows.end)
  pooled = sigma_jax.load(run).encode(clips).pooled
  np.testing.assert_allclose(found["features"], pooled, atol=1e-5)
  assert "1 videos over time" in capsys.readouterr().out
  assert not out.with_name("out.parts").exists()


def test_a_short_video_gives_what_features_gives(run, tmp_path):
  _video(tmp_path / "short.mp4", 10)
  listed = _list(tmp_path, tmp_path / "short.mp4")
  assert _main(run, listed, tmp_path / "out") == 0
  found = _load(tmp_path / "out" / "000000_short.npz")
  argv = [f"--init={run}", f"--manifest={listed}", f"--out={tmp_path}/x.npz"]
  assert features.main(argv) == 0
  np.testing.assert_allclose(
    found["features"], _load(tmp_path / "x.npz")["features"], atol=1e-5
  )
  assert (found["start"], found["end"]) == (0, pytest.approx(9 / RATE))


def test_window_sets_the_stride(run, loop, tmp_path, capsys):
  listed = _list(tmp_path, loop)
  assert _main(run, listed, tmp_path / "a", "--window=8") == 0
  assert _main(run, listed, tmp_path / "b", "--stride=2") == 0
  a, b = (_load(tmp_path / x / "000000_loop.npz") for x in "ab")
  np.testing.assert_array_equal(a["features"], b["features"])
  assert (a["end"] - a["start"])[0] == pytest.approx(7 / RATE)
  for flags, words in (
    (("--window=9",), "such as 8 and 12"),
    (("--window=8", "--stride=2"), "leave one of them out"),
    (("--every=-1",), "from 0.001 up"),
    (("--every=0", "--window=8"), "give --every"),
  ):
    assert _main(run, listed, tmp_path / "c", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and words in line


@pytest.mark.parametrize("parts_done", [1, 2])
def test_a_killed_call_goes_on_within_a_video(
  run, loop, tmp_path, monkeypatch, parts_done
):
  """Bitwise as if nothing had happened, and only what is left is read."""
  listed = _list(tmp_path, loop)
  flags = ("--part-size=6",)
  assert _main(run, listed, tmp_path / "whole", *flags) == 0
  put, done = over_time_files.Store.put_part, []

  def killed(self, row, number, *rest):
    if number == parts_done and len(done) == parts_done:
      raise KeyboardInterrupt
    done.append(number)
    put(self, row, number, *rest)

  monkeypatch.setattr(over_time_files.Store, "put_part", killed)
  out = tmp_path / "out"
  assert _main(run, listed, out, *flags) == 130
  assert not list(out.glob("*.npz"))
  done.append(None)
  read, encoded = [], command._Reader._encoded

  def counted(self, clips):
    read.append(len(clips))
    return encoded(self, clips)

  monkeypatch.setattr(command._Reader, "_encoded", counted)
  assert _main(run, listed, out, *flags) == 0
  assert done == [*range(parts_done), None, *range(parts_done, 4)]
  whole, found = (
    _load(x / "000000_loop.npz") for x in (tmp_path / "whole", out)
  )
  assert sum(read) == len(whole["start"]) - 6 * parts_done
  assert set(whole) == set(found)
  for name, array in whole.items():
    np.testing.assert_array_equal(array, found[name])


def test_parts_of_another_job_or_video_are_not_used(
  run, loop, tmp_path, monkeypatch, capsys
):
  copy = tmp_path / "loop.mp4"
  copy.write_bytes(loop.read_bytes())
  listed, out = _list(tmp_path, copy), tmp_path / "out"
  monkeypatch.setattr(
    over_time_files.Store, "put", lambda *_: (_ for _ in ()).throw(KeyError)
  )
  with pytest.raises(KeyError):
    _main(run, listed, out, "--part-size=6")
  monkeypatch.undo()
  assert _main(run, listed, out, "--part-size=6", "--window=8") == 2
  assert "another job" in capsys.readouterr().err
  _video(copy, 130, seed=3)  # written anew under its name
  assert _main(run, listed, out, "--part-size=6") == 0
  assert _main(run, listed, tmp_path / "fresh", "--part-size=6") == 0
  found, fresh = (
    _load(x / "000000_loop.npz") for x in (out, tmp_path / "fresh")
  )
  np.testing.assert_array_equal(found["features"], fresh["features"])


def test_a_table_has_a_row_a_window_and_bad_files_are_listed(
  run, loop, tmp_path, capsys
):
  from pyarrow import parquet

  _video(tmp_path / "short.mp4", 10)
  (tmp_path / "bad.mp4").write_bytes(b"no video")
  names = (f"{loop} 4", f"{tmp_path}/bad.mp4 5", f"{tmp_path}/short.mp4 6")
  listed, out = _list(tmp_path, *names), tmp_path / "x.parquet"
  assert _main(run, listed, out) == 0
  assert "2 videos over time" in (said := capsys.readouterr()).out
  assert "1 unreadable" in said.out and "bad.mp4: not a readable" in said.err
  table = parquet.read_table(out)
  assert set(table.column_names) == {
    *("path", "start", "end", "label", "features")
  }
  assert _main(run, listed, tmp_path / "out") == 0
  files = [
    _load(tmp_path / "out" / name)
    for name in ("000000_loop.npz", "000002_short.npz")
  ]
  for name in ("start", "end", "features"):
    wanted = np.concatenate([file[name] for file in files])
    found = np.stack(table[name].to_numpy())
    np.testing.assert_array_equal(found, wanted)
  assert table["label"].to_pylist() == [4] * len(files[0]["start"]) + [6]
  assert files[1]["label"] == 6
  (line,) = (tmp_path / "x.parquet.bad.jsonl").read_text().splitlines()
  assert json.loads(line)["file"] == f"{tmp_path}/bad.mp4"
  assert _main(run, _list(tmp_path, tmp_path / "bad.mp4"), tmp_path / "n") == 1
  assert "none of the 1 videos" in capsys.readouterr().err


def test_parts_of_the_videos_in_any_order(run, loop, tmp_path, capsys):
  """By --only, the last part ends it; the bytes of one call."""
  _video(tmp_path / "short.mp4", 10)
  (tmp_path / "bad.mp4").write_bytes(b"no video")
  names = (f"{tmp_path}/bad.mp4", loop, f"{tmp_path}/short.mp4")
  listed, out = _list(tmp_path, *names), tmp_path / "x.parquet"
  assert _main(run, listed, tmp_path / "one.parquet") == 0
  for part in ("2/3", "0/3", "2/3"):
    assert _main(run, listed, out, f"--only={part}") == 0
    assert not out.exists()
  assert "1 of 3 pieces are not there: video 1" in capsys.readouterr().err
  assert _main(run, listed, out, "--merge") == 1
  assert _main(run, listed, out, "--only=1/3") == 0
  assert out.read_bytes() == (tmp_path / "one.parquet").read_bytes()
  bad = [tmp_path / f"{name}.parquet.bad.jsonl" for name in ("x", "one")]
  assert bad[0].read_text() == bad[1].read_text() != ""
  # The file is mended: it is tried again, by whoever comes.
  _video(tmp_path / "bad.mp4", 12)
  assert _main(run, listed, out, "--only=0/3") == 0
  assert not bad[0].exists()
  assert _main(run, listed, out, "--merge") == 0
  assert not (tmp_path / "x.parquet.parts").exists()
  assert "3 videos over time" in capsys.readouterr().out


def test_records_are_read_in_one_pass_too(loop, tmp_path, tiny):
  """Prepared ones: every frame's time, and the frames of the record."""
  from sigma_jax.data import prepare

  listed, out = _list(tmp_path, f"{loop} 0"), tmp_path / "records"
  prepare.prepare(str(listed), str(out), workers=1)
  rows = sources.load(str(out))
  with passes.opened(rows, 0, 30) as video:
    np.testing.assert_allclose(video.times, np.arange(250) / RATE, atol=1e-5)
    windows = over_time.Windows(video, tiny.data, 16, 0.5)
    clips = np.concatenate(list(windows.clips(0, [20])))
  with rows.open(0, 30) as video:
    wanted = video.read(np.arange(1, 16, 4) + 25, crops.square, 16)
  np.testing.assert_array_equal(clips[2], wanted)


@pytest.mark.parametrize("name", ["x.npz", "taken"])
def test_out_is_a_folder_or_a_table(run, loop, tmp_path, capsys, name):
  (tmp_path / "taken").touch()
  assert _main(run, _list(tmp_path, loop), tmp_path / name) == 2
  assert "is a folder, or a file that ends in .parquet" in (
    capsys.readouterr().err
  )
