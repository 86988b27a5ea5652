"""Parts of videos against FFmpeg's own decoding of the whole file, via PyAV."""

import av
import numpy as np
import pytest

from sigma_jax.data import examples, manifest, parts, sources
from sigma_jax.data.check import command, pool
from sigma_jax.data.records import encode, shard, shards
from sigma_jax.data.video import decoder
from sigma_jax.data.video.containers import DecodeError

# suffix, then write_video's arguments; times are in 1/100 s
VIDEOS = {
  "even": (".mp4", {"frames": 60}),
  "uneven, B-frames": (
    ".mp4",
    {"stamps": list(np.cumsum([2, 9, 4, 1, 30, 3] * 10)), "bf": "3"},
  ),
  "open gop": (".mp4", {"x264-params": "open-gop=1:keyint=10:b-adapt=0"}),
  "VP9": (".webm", {"codec": "libvpx-vp9", "frames": 40}),
  "counted once": (".avi", {"codec": "mpeg4", "bf": "2"}),
  "begins late": (
    ".mp4",
    {
      "stamps": list(range(-28, 120, 4)),
      "muxer": {"avoid_negative_ts": "disabled"},
    },
  ),
}
SECONDS = [(0.0, None), (0.0, 0.5), (0.4, 0.8), (0.36, 0.3601), (0.39, 99.0)]
SECONDS += [(0.6, None), (0.401, 0.43)]
FRAMES = [(0, 5), (7, 1), (12, 10), (20, None), (25, 10_000)]


def sequential(path):
  """Every frame of a plain decode, and its microseconds after the first."""
  with av.open(path) as container:
    decoded = list(container.decode(video=0))
  times = [frame.time - decoded[0].time for frame in decoded]
  frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
  return np.stack(frames), np.rint(np.array(times) * 1e6).astype(int)


def source_of(path, windows, unit):
  starts = np.array([start for start, _ in windows], np.float64)
  if unit == "seconds":
    ends = np.array([np.inf if b is None else b for _, b in windows])
    made = parts.Parts.of_seconds(starts, ends)
  else:
    counts = np.array([-1 if n is None else n for _, n in windows])
    made = parts.Parts.of_frames(starts, counts)
  labels = np.zeros(len(windows), np.int32)
  rows = manifest.Manifest("list", (path,) * len(windows), labels, (), made)
  return sources.Files(rows)


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_a_whole_decode(name, write_video, tmp_path):
  suffix, options = VIDEOS[name]
  path = write_video(tmp_path / f"video{suffix}", **options)
  frames, times = sequential(path)
  wanted = {"seconds": [], "frames": []}
  for start, end in SECONDS:
    last = np.inf if end is None else round(end * 1e6)
    inside = (times >= round(start * 1e6)) & (times < last)
    wanted["seconds"].append(np.flatnonzero(inside))
  for start, count in FRAMES:
    last = len(frames) if count is None else min(start + count, len(frames))
    wanted["frames"].append(np.arange(start, last))
  for unit, windows in (("seconds", SECONDS), ("frames", FRAMES)):
    source = source_of(path, windows, unit)
    for row, places in enumerate(wanted[unit]):
      if not len(places):
        with pytest.raises(DecodeError, match="no frame of it lies in"):
          source.open(row, 30.0)
        continue
      with source.open(row, 30.0) as video:
        assert video.num_frames == len(places)
        order = np.r_[np.arange(len(places))[::-2], 0]
        np.testing.assert_array_equal(video.read(order), frames[places[order]])
        found = np.rint(video.times(order) * 1e6)
        np.testing.assert_allclose(
          found, times[places[order]] - times[places[0]], atol=1
        )
        with pytest.raises(DecodeError, match="wanted of"):
          video.read(np.array([len(places)]))
        with pytest.raises(ValueError, match="start at 0"):
          video.read(np.array([-1]))


def test_decoding_begins_at_the_key_frame_before(
  write_video, tmp_path, monkeypatch
):
  path = write_video(tmp_path / "video.mp4", frames=60, gop=10, bf="0")
  fed, real = [], decoder.frames_of

  def frames_of(context, packet):
    fed.append(None if packet is None else packet.pts)
    return real(context, packet)

  monkeypatch.setattr(decoder, "frames_of", frames_of)
  source = source_of(path, [(1.4, 1.6)], "seconds")  # frames 35 to 39
  with source.open(0, 30.0) as video:
    video.read(np.arange(5))
  # The decoder of the view sees the first packet, once.
  assert fed[:5] == [30, 31, 32, 33, 34] and max(filter(None, fed)) == 39
  assert sum(packet is not None and packet < 30 for packet in fed) <= 1


@pytest.mark.parametrize(
  ("window", "unit", "words"),
  [
    ((5.0, 6.0), "seconds", "begins at 5 s, and its last frame is at 1.16 s"),
    ((1.17, None), "seconds", "begins at 1.17 s"),
    ((0.041, 0.079), "seconds", "no frame of it lies in seconds 0.041 to"),
    ((30, 4), "frames", "begins with frame 30, and it has 30 frames"),
  ],
)
def test_windows_that_hold_nothing(window, unit, words, write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4")
  source = source_of(path, [window, (0, 4)], unit)
  with pytest.raises(DecodeError, match=words):
    source.open(0, 30.0)
  with source.open(1, 30.0) as video:  # another row of the file is not bad
    assert video.num_frames > 1


def test_a_bad_part_is_told_by_itself(write_video, tmp_path, tiny):
  """The file's other rows are good ones."""
  path = write_video(tmp_path / "video.mp4")
  source, bad = source_of(path, [(9.0, 10.0), (0.2, 0.9)], "seconds"), []
  reader = examples.Examples(tiny, source, lambda *args: bad.append(args))
  assert [reader.evaluate(row, 1, (1, 1))[2] for row in (0, 1)] == [False, True]
  ((row, name, reason),) = bad
  assert (row, name) == (0, f"{path} (seconds 9 to 10)")
  assert "its part begins at 9 s" in reason
  assert sources.names(source) == (name, f"{path} (seconds 0.2 to 0.9)")


def test_a_row_is_known_by_its_window(write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4")
  windows = [(0.0, 0.5), (0.0, 0.6), (0.1, 0.5), (0.0, None)]
  source = source_of(path, windows, "seconds")
  assert len({str(source.identify(row)) for row in range(4)}) == 4
  whole = sources.Files(manifest.Manifest("list", (path,), source.labels[:1]))
  assert sources.name(source, 3) == path
  kinds = [sources.take(source, np.array([row])) for row in range(4)]
  kinds += [source_of(path, [(0, 5)], "frames"), whole]
  assert len({sources.identity(one) for one in kinds}) == len(kinds)
  part = sources.part(source, 2, 4)
  with part.open(0, 30.0) as one, kinds[2].open(0, 30.0) as other:
    assert one.num_frames == other.num_frames == 10


def test_an_image_is_a_part_of_one_frame(tmp_path):
  from PIL import Image

  path = str(tmp_path / "a.png")
  Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
  source = source_of(path, [(0.0, 1.0), (1.0, 2.0)], "seconds")
  with source.open(0, 30.0) as video:
    assert video.num_frames == 1 and video.read([0])[0, 0, 0].tolist() == [
      1,
      2,
      3,
    ]
  with pytest.raises(DecodeError, match="begins at 1 s"):
    source.open(1, 30.0)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_records_hold_the_part_alone(suffix, write_video, tmp_path):
  """Equal to the same frames of the whole file's record, bit for bit."""
  codec = {".mp4": "libx264", ".avi": "mpeg4"}[suffix]
  path = write_video(tmp_path / f"a{suffix}", frames=80, codec=codec)
  files = source_of(path, [(0.0, None), (0.48, 2.2), (9.0, None)], "seconds")
  rows = manifest.Manifest(
    "list", files.files, np.arange(3, dtype=np.int32), (), files.parts
  )
  plan = shards.Plan.of(rows, 32, 85)
  other = manifest.Manifest("list", rows.files, rows.labels)
  assert plan.digest != shards.Plan.of(other, 32, 85).digest
  out = str(tmp_path / "records")
  jobs = [
    encode.Job(row, path, row, 32, 85, 60.0, window=rows.parts[row])
    for row in range(3)
  ]
  made = shards.Shards(out, plan, jobs)
  for piece in made.pieces:
    found = {job.row: encode.encode(job) for job in piece.job.rows}
    shard.write(piece.job, found)
  assert made.there() == {piece.name for piece in made.pieces}
  made.finish()
  assert "begins at 9 s" in made.rejected[0]["reason"]
  found = sources.load(out)
  assert found.files == (path, f"{path} (seconds 0.48 to 2.2)")
  with found.open(0, 30.0) as whole, found.open(1, 30.0) as part:
    assert (whole.num_frames, part.num_frames) == (80, 43)  # 25 a second
    places = np.array([0, 11, 42])
    np.testing.assert_array_equal(part.read(places), whole.read(places + 12))
    np.testing.assert_allclose(part.times(places), [0, 0.44, 1.68], atol=1e-5)


def test_check_tells_parts_apart(write_video, tmp_path, monkeypatch):
  for name in "ab":
    write_video(tmp_path / f"{name}.mp4", gop=ord(name) - 90)
  (tmp_path / "list.csv").write_text(
    "path,label,start,end\n"
    "a.mp4,wave,0,0.4\na.mp4,clap,0.4,0.8\na.mp4,wave,8,9\n"
    "b.mp4,wave,0,0.4\nb.mp4,clap,0,0.4\nb.mp4,clap,0,0.4\n"
  )

  def in_this_process(function, jobs, **_):
    for place, job in enumerate(jobs):
      yield place, function(job), ""

  monkeypatch.setattr(pool, "run", in_this_process)
  found = command.check([str(tmp_path / "list.csv")])["manifests"][0]
  assert found["form"].startswith("CSV with a header, columns path, label, st")
  assert (found["rows"], found["files"], found["readable"]) == (6, 4, 3)
  assert found["frames"] == {"min": 10, "median": 10.0, "max": 10}
  (bad,) = found["unreadable"]
  assert bad["file"] == f"{tmp_path}/a.mp4 (seconds 8 to 9)"
  assert found["repeated_rows"] == 2 and found["same_content"] == []
  (two,) = found["conflicting_labels"]
  assert two["file"] == f"{tmp_path}/b.mp4" and two["labels"] == [
    "clap",
    "wave",
  ]
