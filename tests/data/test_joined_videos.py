"""Videos joined by `cat`: read as far as a plain decode reads them."""

import pathlib

import numpy as np
import pytest

from sigma_jax.data.records import encode
from sigma_jax.data.video.decode import Clip
from tests.data import random_videos
from tests.data.odd_videos import numbers, write

FIRST, SECOND = 12, 9  # frames
ALL = list(range(FIRST + SECOND))


def joined(folder, suffix, codec, muxer, **options):
  """A file of frames 0 to 11 with one of 12 to 20 behind it."""
  more = {"g": "5", "muxer": muxer, **options}
  parts = [
    write(folder / f"{first}.{suffix}", codec, count, first, **more)
    for first, count in ((0, FIRST), (FIRST, SECOND))
  ]
  path = folder / f"joined.{suffix}"
  path.write_bytes(b"".join(pathlib.Path(p).read_bytes() for p in parts))
  return str(path)


def check(path):
  """Compares all frames, late ones alone and records; returns the numbers."""
  wanted, _ = random_videos.sequential(path)
  count = len(wanted)
  with Clip(path, 30) as clip:
    assert clip.num_frames == count
    found, times = clip.read(np.arange(count)), clip.times(np.arange(count))
  np.testing.assert_array_equal(found, wanted)
  assert times[0] == 0 and (np.diff(times) > 0).all()
  places = np.arange(count - 7, count, 3)
  with Clip(path, 30) as clip:
    np.testing.assert_array_equal(clip.read(places), found[places])
    np.testing.assert_allclose(clip.times(places), times[places])
  assert encode.encode(encode.Job(0, path, 0, 0, 90, 30)).frames == count
  return numbers(wanted)


# Without default-base-moof the places of a fragment's frames count from the
# start of a file that is no longer theirs.
@pytest.mark.parametrize(
  ("flags", "goes_on"),
  [
    ("frag_keyframe+empty_moov", False),
    ("frag_keyframe+empty_moov+default_base_moof", True),
    ("dash+frag_every_frame", True),
  ],
)
@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_fragmented_mp4s(flags, goes_on, b_frames, tmp_path):
  path = joined(tmp_path, "mp4", "libx264", {"movflags": flags}, bf=b_frames)
  found = check(path)
  first, second = found[:FIRST], found[FIRST:]
  assert first == ALL[:FIRST] and bool(second) == goes_on
  # FFmpeg skips the second file's header, and its first fragment with it.
  assert len(second) < SECOND and second == ALL[len(ALL) - len(second) :]


@pytest.mark.parametrize(
  ("suffix", "codec"),
  [
    ("ogv", "libvpx"),  # a chained Ogg stream, as RFC 3533 calls it
    ("mkv", "libx264"),
    ("webm", "libvpx"),
    ("mpg", "mpeg2video"),
  ],
)
def test_others_to_their_end(suffix, codec, tmp_path):
  muxer = {"serial_offset": "7"} if suffix == "ogv" else {}
  assert check(joined(tmp_path, suffix, codec, muxer)) == ALL


def test_an_flv_ends_with_its_first_part(tmp_path):
  assert check(joined(tmp_path, "flv", "libx264", {})) == ALL[:FIRST]
