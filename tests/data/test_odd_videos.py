"""Files that recorders, cameras and muxers write, as players show them.

Each kind is made here; frames carry their number as brightness. The right
values are those that were written, or a plain decode's.
"""

import pathlib
import shutil
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest
from av.stream import Disposition

from sigma_jax.data import sources
from sigma_jax.data.records import encode, record_format
from sigma_jax.data.video import stills, whole
from sigma_jax.data.video.decode import Clip, DecodeError
from tests.data import random_videos
from tests.data.odd_videos import (
  SIDE,
  copy,
  field_coded,
  numbers,
  picture,
  write,
)


def read(path) -> tuple[list[int], np.ndarray]:
  """Numbers of all frames, and when they are shown."""
  with Clip(str(path), 30) as clip:
    places = np.arange(clip.num_frames)
    return numbers(clip.read(places)), clip.times(places)


def read_records(path) -> tuple[Clip, list[float]]:
  """Frames and times of what prepare stores."""
  encoded = encode.encode(encode.Job(0, str(path), 0, 0, 90, 30))
  assert not encoded.reason
  times, count = [], 0
  for record in encoded.records:
    images, _, more = record_format.frames_of(memoryview(record), count)
    count, times = count + len(images), times + more
  return encoded, [time / record_format.MICROSECONDS for time in times]


@pytest.mark.parametrize("suffix", ["h264", "ts", "mkv", "mp4"])
def test_two_fields_are_one_frame(suffix, tmp_path):
  raw = tmp_path / "raw.h264"
  raw.write_bytes(field_coded(8))
  path = raw
  if suffix != "h264":

    def timed(packets):
      for number, packet in enumerate(packets):
        packet.pts = packet.dts = 40_000 * number
        packet.time_base = Fraction(1, 1_000_000)
      return packets

    path = copy(raw, tmp_path / f"video.{suffix}", timed)
  with Clip(str(path), 30) as clip:
    assert clip.num_frames == 8
    found = clip.read(np.arange(8)).mean((1, 2, 3))
    assert (np.diff(found) > 8).all()
    late = clip.read(np.array([5]))
  assert late.mean() == found[5]


@pytest.mark.parametrize(
  ("codec", "suffix"),
  [
    ("libx264", "mp4"),
    ("libx264", "ts"),
    ("libvpx", "webm"),
    ("libvpx-vp9", "webm"),
    ("mpeg2video", "ts"),
  ],
)
def test_a_recording_may_begin_between_key_frames(codec, suffix, tmp_path):
  options = {"bf": "0"} if codec in ("libx264", "mpeg2video") else {}
  source = write(tmp_path / f"all.{suffix}", codec, g="10", **options)
  path = copy(source, tmp_path / f"cut.{suffix}", lambda packets: packets[4:])
  wanted, _ = random_videos.sequential(path)
  found, _ = read(path)
  assert found == numbers(wanted) and found[-10:] == list(range(10, 20))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
def test_the_decoder_tells_the_order(suffix, tmp_path):
  """Times as copied from AVI, which has those of decoding alone."""

  def decoding_order(packets):
    stamps = sorted(packet.pts for packet in packets)
    for packet, stamp in zip(packets, stamps, strict=True):
      packet.pts = packet.dts = stamp
    return packets

  source = write(tmp_path / f"a.{suffix}", bf="3", g="12")
  path = copy(source, tmp_path / f"b.{suffix}", decoding_order)
  found, times = read(path)
  assert found == list(range(20))
  np.testing.assert_allclose(times, np.arange(20) / 25, atol=2e-3)
  with Clip(path, 30) as clip:
    assert numbers(clip.read(np.array([6, 14]))) == [6, 14]
    np.testing.assert_allclose(
      clip.times(np.array([6, 14])), [0.24, 0.56], atol=2e-3
    )


def test_packets_without_a_picture_are_passed_over(tmp_path):
  def with_marks(packets):
    for place in (20, 7, 3):
      mark = av.Packet(b"\0\0\0\1\x0b")
      mark.pts = mark.dts = packets[place - 1].pts + 1
      mark.time_base = packets[0].time_base
      packets.insert(place, mark)
    return packets

  source = write(tmp_path / "a.ts", bf="0")
  assert read(source)[0] == list(range(20))
  path = copy(source, tmp_path / "b.mkv", with_marks)
  assert read(path)[0] == list(range(20))


def test_a_picture_left_out_of_an_index_is_no_cut(tmp_path):
  path = pathlib.Path(write(tmp_path / "a.mp4", bf="0"))
  data = bytearray(path.read_bytes())
  place = data.find(b"stsz") + 12 + 4 * 6
  data[place : place + 4] = bytes(4)
  path.write_bytes(data)
  wanted, _ = random_videos.sequential(str(path))
  assert 0 < len(wanted) < 20
  assert read(path)[0] == numbers(wanted)


@pytest.mark.parametrize(
  ("codec", "suffix"),
  [("libvpx", "webm"), ("mpeg4", "mkv"), ("ffv1", "mkv"), ("libx264", "mkv")],
)
def test_frames_carry_their_times(codec, suffix, tmp_path):
  stamps = [*range(0, 40, 4), *range(60, 240, 20)]
  path = write(tmp_path / f"a.{suffix}", codec, stamps=stamps)
  found, times = read(path)
  assert len(found) == 19
  np.testing.assert_allclose(times, np.array(stamps) / 100, atol=2e-3)
  encoded, stored = read_records(path)
  np.testing.assert_allclose(stored, times, atol=1e-6)
  assert encoded.seconds == pytest.approx(19 / 18 * times[-1], rel=1e-6)


def test_equal_times_of_two_frames_cost_no_others(tmp_path):
  def equal(packets):
    packets[5].pts = packets[5].dts = packets[4].pts
    return packets

  source = write(tmp_path / "a.mkv", bf="0")
  path = copy(source, tmp_path / "b.mkv", equal)
  found, times = read(path)
  assert found == list(range(20))
  wanted = np.arange(20) / 25
  wanted[5] = wanted[4]
  np.testing.assert_allclose(times, wanted, atol=1e-9)


def held(packets):
  """The last frame for five seconds."""
  packets[-1].duration = int(5 / packets[-1].time_base)
  return packets


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm"])
def test_a_long_last_frame_is_no_cut_and_no_step(suffix, tmp_path):
  codec = "libvpx-vp9" if suffix == "webm" else "libx264"
  source = write(tmp_path / f"a.{suffix}", codec)
  path = copy(source, tmp_path / f"b.{suffix}", held)
  found, times = read(path)
  assert found == list(range(20))
  assert times[-1] == pytest.approx(0.76, abs=2e-3)
  encoded, stored = read_records(path)
  assert stored[-1] == pytest.approx(0.76, abs=2e-3)
  assert encoded.seconds == pytest.approx(0.8, abs=2e-3)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_matroska_file_is_whole_or_cut(share, tmp_path):
  content = pathlib.Path(write(tmp_path / "a.mkv")).read_bytes()

  def check(data):
    return whole.matroska(lambda at, size: data[at : at + size], len(data))

  assert check(content)
  assert not check(content[: int(share * len(content))])
  damaged = content.replace(b"\x1f\x43\xb6\x75", bytes(4))
  assert not check(damaged)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_joined_transport_streams_are_read_to_the_end(codec, tmp_path):
  parts = [
    write(tmp_path / f"{first}.ts", codec, count=12, first=first)
    for first in (0, 100, 30)
  ]
  path = tmp_path / "joined.ts"
  path.write_bytes(b"".join(pathlib.Path(p).read_bytes() for p in parts))
  found, times = read(path)
  assert found == [*range(12), *range(100, 112), *range(30, 42)]
  np.testing.assert_allclose(times, np.arange(36) / 25, atol=1e-6)


def test_a_lost_transport_packet_costs_little(tmp_path):
  data = pathlib.Path(write(tmp_path / "a.ts", g="10")).read_bytes()
  path = tmp_path / "b.ts"
  for lost in (9, 20):
    path.write_bytes(data[: 188 * lost] + data[188 * (lost + 1) :])
    wanted, _ = random_videos.sequential(str(path))
    assert len(wanted) > 17 and read(path)[0] == numbers(wanted)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_an_overwritten_packet_costs_its_frame(codec, tmp_path):
  path = pathlib.Path(write(tmp_path / "a.webm", codec))
  data = path.read_bytes()
  with av.open(str(path)) as file:
    packet = bytes(next(p for n, p in enumerate(file.demux()) if n == 6))
  path.write_bytes(data.replace(packet, bytes(len(packet))))
  wanted, _ = random_videos.sequential(str(path))
  assert len(wanted) == 19 == len(read(path)[0])


def test_most_packets_overwritten_is_damage(tmp_path):
  path = pathlib.Path(write(tmp_path / "a.webm", "libvpx"))
  data = path.read_bytes()
  with av.open(str(path)) as file:
    packets = [bytes(p) for p in file.demux() if p.size]
  for packet in packets[4:]:
    data = data.replace(packet, bytes(len(packet)))
  path.write_bytes(data)
  with pytest.raises(DecodeError, match="16 of its packets do not decode"):
    Clip(str(path), 30)


@pytest.mark.parametrize("marked", ["second", "both"])
def test_the_default_video_is_shown(marked, tmp_path):
  """Of several such no single picture."""
  path, thumbnail = tmp_path / "a.mp4", tmp_path / "small.mp4"
  film = write(tmp_path / "film.mp4", first=30)
  write(thumbnail, "mpeg4", count=1 if marked == "both" else 20)
  with (
    av.open(str(thumbnail)) as small,
    av.open(film) as large,
    av.open(str(path), "w") as out,
  ):
    files = small, large
    streams = [out.add_stream_from_template(f.streams[0]) for f in files]
    streams[0].disposition = Disposition(int(marked == "both"))
    streams[1].disposition = Disposition.default
    for file, stream in zip(files, streams, strict=True):
      for packet in file.demux(video=0):
        if packet.size:
          packet.stream = stream
          out.mux(packet)
  assert read(path)[0] == list(range(30, 50))


@pytest.mark.parametrize("codec", ["libvpx", "libx264"])
def test_frames_are_scaled_to_the_first_ones_size(codec, tmp_path):
  suffix = "webm" if codec == "libvpx" else "ts"
  small = write(tmp_path / f"a.{suffix}", codec, count=6)
  large = write(tmp_path / f"b.{suffix}", codec, count=6, first=6, side=128)
  path = tmp_path / f"c.{suffix}"
  path.write_bytes(
    b"".join(pathlib.Path(p).read_bytes() for p in (small, large))
  )
  assert read(path)[0] == list(range(12))
  with Clip(str(path), 30) as clip:
    late = clip.read(np.array([8, 11]))
    cut = clip.read(np.array([2, 9]), lambda w, h: (0, 0, w, h), 32)
    assert (clip.info.width, clip.info.height) == (
      SIDE,
      SIDE,
    )
  assert late.shape == (
    2,
    SIDE,
    SIDE,
    3,
  ) and numbers(late) == [8, 11]
  assert numbers(cut) == [2, 9]
  assert read_records(path)[0].frames == 12


@pytest.mark.parametrize("name", ["12:30.mp4", "file:x.mp4", "-a.mp4"])
def test_any_name_is_a_file(name, tmp_path, monkeypatch):
  shutil.move(write(tmp_path / "a.mp4"), tmp_path / name)
  monkeypatch.chdir(tmp_path)
  assert read(name)[0] == list(range(20))


def test_animated_images(tmp_path):
  images = [PIL.Image.fromarray(picture(n)) for n in range(8)]
  for suffix in ("png", "webp"):
    images[0].save(
      tmp_path / f"a.{suffix}",
      save_all=True,
      append_images=images[1:],
      duration=100,
    )
    images[0].save(tmp_path / f"still.{suffix}")
    assert stills.opened(str(tmp_path / f"still.{suffix}")).num_frames == 1
  (tmp_path / "list.csv").write_text("a.png 0\na.webp 1\n")
  rows = sources.load(str(tmp_path / "list.csv"))
  with rows.open(0, 30) as video:
    assert numbers(video.read(np.arange(video.num_frames))) == list(range(8))
    np.testing.assert_allclose(video.times(np.arange(8)), np.arange(8) / 10)
  with pytest.raises(DecodeError, match="an animated WEBP"):
    rows.open(1, 30)
