"""Which packet holds which frame: told by headers, or by decoding once."""

import os
import pathlib

import numpy as np
import pytest

from sigma_jax.data.video import avc, decode, nal_units
from sigma_jax.data.video.bits import Reader, Readers
from sigma_jax.data.video.decode import Clip, DecodeError
from tests.data import random_videos
from tests.data.odd_videos import numbers, write

ORDINARY = [
  ("libx264", "mp4", {}),
  ("libx264", "mov", {"bf": "0"}),
  ("libx264", "mkv", {"g": "8", "x264-params": "open-gop=1", "bf": "3"}),
  ("libx264", "ts", {"slices": "4"}),
  ("libx264", "flv", {}),
  ("libx264", "mp4", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}),
  ("libx265", "mp4", {"x265-params": "log-level=none:pools=1"}),
  ("libx265", "mkv", {"x265-params": "log-level=none:pools=1:bframes=0"}),
  ("libvpx", "webm", {"auto-alt-ref": "1", "lag-in-frames": "9"}),
  ("libvpx-vp9", "webm", {"auto-alt-ref": "1", "lag-in-frames": "9"}),
  ("libvpx-vp9", "mp4", {}),
  ("libsvtav1", "mkv", {"preset": "12"}),
  ("mjpeg", "mov", {"strict": "unofficial"}),
]


@pytest.mark.parametrize(("codec", "suffix", "options"), ORDINARY)
def test_ordinary_files_are_not_decoded_to_be_counted(
  codec, suffix, options, tmp_path, monkeypatch
):
  monkeypatch.setattr(Clip, "_make_index", None)
  path = write(tmp_path / f"a.{suffix}", codec, **options)
  for _ in range(2):  # the second time by what is known
    with Clip(path, 30) as clip:
      assert clip.num_frames == 20
      assert numbers(clip.read(np.array([3, 9, 19]))) == [3, 9, 19]


def test_others_are_decoded_once_unless_they_change(tmp_path, monkeypatch):
  made, make = [], Clip._make_index
  monkeypatch.setattr(
    Clip, "_make_index", lambda clip: made.append(clip.path) or make(clip)
  )
  path = write(tmp_path / "a.avi", "mpeg4")
  for _ in range(3):
    assert decode.probe(path).num_frames == 20
  assert len(made) == 1
  write(path, "mpeg4", count=9)
  assert decode.probe(path).num_frames == 9 and len(made) == 2


def test_counting_by_decoding_is_bounded_in_time(tmp_path):
  path = write(tmp_path / "a.avi", "mpeg4")
  with pytest.raises(DecodeError, match="timeout"):
    Clip(path, 1e-9)


@pytest.mark.parametrize("bf", ["0", "1", "4"])
def test_a_stream_that_does_not_tell_what_to_hold_back(
  bf, tmp_path, monkeypatch
):
  """Without the part of its parameters that says so (annex E)."""
  path = write(tmp_path / "a.mp4", bf=bf, **{"b-pyramid": "normal"})
  data = pathlib.Path(path).read_bytes()
  place = data.find(b"avcC") + 4
  _, (stored, *_) = nal_units.stored_sets(data[place : place + 200], 5)
  left = []
  monkeypatch.setattr(
    avc, "_held_back", lambda reader: left.append(reader._left) or 0
  )
  avc._read_sequence.cache_clear()
  avc._read_sequence(stored)
  monkeypatch.undo()
  plain = stored.replace(b"\0\0\3", b"\0\0")
  bits = format(int.from_bytes(plain, "big"), f"0{8 * len(plain)}b")
  bits = bits[: len(bits) - left[0] - 1] + "01"
  bits += "0" * (-len(bits) % 8)
  short = int(bits, 2).to_bytes(len(bits) // 8, "big")
  assert b"\0\0\1" not in short and len(short) < len(stored)
  # Of the same length, so that nothing else in the file moves.
  padded = short + bytes(len(stored) - len(short))
  pathlib.Path(path).write_bytes(data.replace(stored, padded))
  os.utime(path, ns=(1, 1))
  avc._read_sequence.cache_clear()
  wanted, _ = random_videos.sequential(path)
  with Clip(path, 30) as clip:
    assert clip.num_frames == len(wanted)
    found = clip.read(np.arange(len(wanted)))
    np.testing.assert_array_equal(found, wanted)
    last = clip.read(np.array([len(wanted) - 1]))
  np.testing.assert_array_equal(last[0], wanted[-1])


def test_headers_in_step_are_those_read_one_by_one():
  rng = np.random.default_rng(0)
  data = rng.choice([0, 0, 1, 3, 255, 90], 4000).astype(np.uint8)
  places = rng.integers(0, 3900, 200)
  many = Readers(data, places)
  fields = [many.bits(3), many.codes(), many.bits(5), many.codes(many._at > 9)]
  for number, place in enumerate(places.tolist()):
    one = Reader(data[place : place + 40].tobytes())
    if fields[1][number] < 0:
      continue  # longer than any that counts
    wanted = [one.bits(3), one.code(), one.bits(5)]
    assert [field[number] for field in fields[:3]] == wanted
