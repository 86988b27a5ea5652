"""Frames are those of a sequential decode; bad files give one clear line."""

import av
import numpy as np
import pytest

from sigma_jax.data.video import decode, decoder, pixels, transforms
from sigma_jax.data.video.decode import Clip, DecodeError, decode_frames, probe

# suffix, then write_video's arguments
VIDEOS = {
  "gop 12": (".mp4", {}),
  "gop 250": (".mp4", {"gop": 250}),
  "many B-frames": (".mkv", {"bf": "4", "b-pyramid": "normal"}),
  "no B-frames": (".mov", {"bf": "0"}),
  "open gop": (".mp4", {"x264-params": "open-gop=1:keyint=10:b-adapt=0"}),
  "intra refresh": (".mp4", {"x264-params": "intra-refresh=1:keyint=10"}),
  "interlaced": (".mp4", {"x264-params": "interlaced=1"}),
  "odd sizes": (".mp4", {"height": 38, "width": 50}),
  "odd pixels": (".webm", {"codec": "libvpx-vp9", "height": 37, "width": 51}),
  "variable rate": (
    ".mp4",
    {"stamps": list(np.cumsum([2, 9, 4, 1, 30, 3] * 5))},
  ),
  "fragments": (
    ".mp4",
    {"gop": 10, "muxer": {"movflags": "frag_keyframe+empty_moov"}},
  ),
  "begins late": (
    ".mp4",
    {
      "stamps": list(range(-28, 120, 4)),
      "muxer": {"avoid_negative_ts": "disabled"},
    },
  ),
  "hidden frames": (
    ".webm",
    {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16"},
  ),
  "avi": (".avi", {"codec": "mpeg4", "bf": "2"}),
  "avi of a quarter of its rate": (".avi", {"codec": "mpeg4", "bf": "0"}),
  "one frame": (".mp4", {"frames": 1}),
  "turned left": (".mp4", {"rotation": 90}),
  "turned right": (".mov", {"rotation": -90}),
  "upside down": (".mp4", {"rotation": 180}),
}


def sequential(path):
  """Every frame as a plain decode gives it, uint8 [n, h, w, 3]."""
  with av.open(path) as container:
    frames = [
      frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)
    ]
  return np.stack(frames)


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_equal_a_sequential_decode(name, write_video, tmp_path):
  suffix, options = VIDEOS[name]
  path = write_video(tmp_path / f"video{suffix}", **options)
  turns = options.get("rotation", 0) // 90
  expected = np.rot90(sequential(path), turns, axes=(1, 2))
  num = len(expected)
  assert num == options.get("frames", 30) or name == "begins late"
  rng = np.random.default_rng(0)
  choices = [np.arange(num), rng.permutation(num)[:5], np.array([num - 1] * 2)]
  choices += [np.arange(start, num, 4) for start in (5, 13) if start < num]
  for indices in choices:
    np.testing.assert_array_equal(
      decode_frames(path, indices), expected[indices]
    )


@pytest.mark.parametrize("name", VIDEOS)
def test_a_cut_is_that_of_whole_frames(name, write_video, tmp_path):
  suffix, options = VIDEOS[name]
  path = write_video(tmp_path / f"video{suffix}", **options)
  asked = []

  def box_of(width, height):
    asked.append((width, height))
    return 3, 5, width - 8, height - 8

  with Clip(path, 10) as clip:
    indices = np.array([clip.num_frames - 1, 0, 0])
    frames = clip.read(indices)
    cut = clip.read(indices, box_of, 24)
  height, width = frames.shape[1:3]
  assert asked == [(width, height)]
  wanted = transforms.crop_resize(frames, box_of(width, height), 24)
  # Colour edges differ (see FrameCutter), in interlaced frames most, whose
  # lines swscale pairs otherwise when it converts them whole.
  error = np.abs(cut.astype(int) - wanted)
  assert cut.shape == (3, 24, 24, 3)
  assert error.mean() < (3.5 if name == "interlaced" else 2.6)
  aside = transforms.crop_resize(frames, (4, 5, width - 8, height - 8), 24)
  assert error.mean() < np.abs(aside.astype(int) - wanted).mean() / 2


def test_frames_are_the_ones_written(write_video, draw_frame, tmp_path):
  path = write_video(tmp_path / "video.mp4", crf="1")
  for number, frame in enumerate(decode_frames(path, np.arange(20, 24)), 20):
    errors = [
      np.abs(frame.astype(int) - draw_frame(other, 48, 64)).mean()
      for other in range(30)
    ]
    assert np.argmin(errors) == number


def test_packets_without_a_frame_are_not_counted(write_video, tmp_path):
  # DivX files hold place-holders, pictures marked as not coded: HMDB51 is
  # full of them.
  source = write_video(tmp_path / "plain.avi", codec="mpeg4", bf="0")
  path = str(tmp_path / "video.avi")
  with av.open(source) as before, av.open(path, "w") as after:
    stream = after.add_stream_from_template(before.streams.video[0])
    packets = [p for p in before.demux(video=0) if p.size]
    packets.insert(4, av.Packet(b"\x00\x00\x01\xb6\x50\x13"))
    for number, packet in enumerate(packets):
      packet.time_base = before.streams.video[0].time_base
      packet.pts = packet.dts = number
      packet.stream = stream
      after.mux(packet)
  expected = sequential(path)
  assert len(expected) == 30
  assert probe(path).num_frames == 30
  indices = np.array([3, 4, 5, 29])
  np.testing.assert_array_equal(decode_frames(path, indices), expected[indices])


def test_one_open_file_answers_several_reads(write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4")
  with Clip(path, 10) as clip:
    late = clip.read(np.array([29, 27]))
    early = clip.read(np.array([1]))
  expected = sequential(path)
  np.testing.assert_array_equal(late, expected[[29, 27]])
  np.testing.assert_array_equal(early, expected[[1]])


@pytest.mark.parametrize(
  ("wanted", "packets"), [([50], 1), ([3, 50], 5), ([5, 15, 25], 18)]
)
def test_groups_are_decoded_only_as_far_as_needed(
  wanted, packets, write_video, tmp_path, monkeypatch
):
  path = write_video(
    tmp_path / "video.mp4", frames=60, gop=10, bf="0", sc_threshold="0"
  )
  expected, fed = sequential(path), []
  with Clip(path, 10) as clip:
    clip.read(np.array([59]))  # all packets are read
    decoded = decoder.frames_of
    monkeypatch.setattr(
      decoder,
      "frames_of",
      lambda *given: fed.append(given[1]) or decoded(*given),
    )
    found = clip.read(np.array(wanted))
  np.testing.assert_array_equal(found, expected[wanted])
  assert sum(packet is not None for packet in fed) == packets


@pytest.mark.parametrize("bf", ["0", "4"])
def test_little_is_read_for_an_early_frame(bf, write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4", frames=60, bf=bf)
  expected = sequential(path)
  with Clip(path, 10) as clip:
    assert clip.num_frames == 60
    np.testing.assert_array_equal(clip.read(np.array([7]))[0], expected[7])
    assert 8 <= len(clip._packets.read) <= 14
    late = clip.read(np.array([59, 3]))
    np.testing.assert_array_equal(late, expected[[59, 3]])


def test_an_index_of_other_packets_is_not_believed(write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4")
  expected = sequential(path)
  with Clip(path, 10) as clip:
    clip._packets._listed[3] += 1
    found = clip.read(np.array([4, 20]))
    assert len(clip._packets.read) == 30
  np.testing.assert_array_equal(found, expected[[4, 20]])


def test_probe(write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4", height=48, width=64)
  assert probe(path) == decode.VideoInfo(30, 64, 48, 25.0, "h264")


def _missing(path, write_video):
  return path


def _empty(path, write_video):
  path.touch()
  return path


def _text(path, write_video):
  path.write_text("not a video\n" * 50)
  return path


def _folder(path, write_video):
  path.mkdir()
  return path


def _audio(path, write_video):
  with av.open(str(path), "w") as container:
    stream = container.add_stream("aac", rate=8000, layout="mono")
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  return path


def _cut(path, share):
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  return path


def _cut_mp4(path, write_video):
  write_video(path)
  return _cut(path, 0.5)


def _cut_faststart(path, write_video):
  write_video(path, muxer={"movflags": "faststart"})
  return _cut(path, 0.9)


def _cut_mkv(path, write_video):
  write_video(path.with_suffix(".mkv"))
  return _cut(path.with_suffix(".mkv"), 0.6)


def _cut_avi(path, write_video):
  write_video(path.with_suffix(".avi"), codec="mpeg4")
  return _cut(path.with_suffix(".avi"), 0.6)


def test_the_last_frame_of_an_avi_may_be_a_long_one(write_video, tmp_path):
  source = write_video(tmp_path / "plain.avi", codec="mpeg4", bf="0")
  path = tmp_path / "video.avi"
  with av.open(source) as old, av.open(str(path), "w") as new:
    stream = new.add_stream_from_template(old.streams.video[0])
    packets = [p for p in old.demux(video=0) if p.size]
    packets[-1].duration = 20
    for packet in packets:
      packet.stream = stream
      new.mux(packet)
  assert probe(str(path)).num_frames == 30
  for share in (0.6, 0.99):
    with pytest.raises(DecodeError):
      probe(str(_cut(path, share)))


@pytest.mark.parametrize(
  ("make", "reason"),
  [
    (_missing, "missing file"),
    (_empty, "empty file"),
    (_text, "not a readable video"),
    (_folder, "not a regular file"),
    (_audio, "no video stream"),
    (_cut_mp4, "not a readable video"),
    (_cut_faststart, "truncated"),
    (_cut_mkv, "truncated"),
    (_cut_avi, "truncated"),
  ],
)
def test_a_bad_file_gives_one_line(make, reason, write_video, tmp_path):
  path = make(tmp_path / "video.mp4", write_video)
  with pytest.raises(DecodeError) as caught:
    decode_frames(str(path), np.arange(3))
  assert reason in caught.value.reason
  assert caught.value.path == str(path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_absurd_sizes_are_refused(write_video, tmp_path, monkeypatch):
  path = write_video(tmp_path / "video.mp4")
  monkeypatch.setattr(pixels, "_MAX_PIXELS", 64 * 48 - 1)
  with pytest.raises(DecodeError, match="absurd size: 64 x 48"):
    probe(path)


def test_time_is_bounded(write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4")
  with pytest.raises(DecodeError, match="timeout"):
    decode_frames(path, np.arange(3), timeout=1e-6)


def test_frames_beyond_the_end_are_refused(write_video, tmp_path):
  path = write_video(tmp_path / "video.mp4")
  with pytest.raises(DecodeError, match="frame 30 wanted of 30"):
    decode_frames(path, np.array([2, 30]))


@pytest.mark.parametrize("indices", [[], [-1], [0.5], [[1]]])
def test_senseless_indices_are_the_callers_error(
  indices, write_video, tmp_path
):
  path = write_video(tmp_path / "video.mp4")
  with pytest.raises(ValueError, match="frame indices"):
    decode_frames(path, np.array(indices))
