"""Pictures are turned and mirrored as players do, by all of the matrix."""

import itertools
import pathlib
import struct

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from sigma_jax.data.video.decode import Clip
from sigma_jax.data.video.orientation import View
from tests.data import random_videos

# a, b, c and d: a point (x, y) is shown at (a x + c y, b x + d y).
MATRICES = [
  *((a, 0, 0, d) for a, d in itertools.product((1, -1), repeat=2)),
  *((0, b, c, 0) for b, c in itertools.product((1, -1), repeat=2)),
]


def shown(image, a, b, c, d):
  """Point by point."""
  height, width = image.shape[:2]
  y, x = np.mgrid[:height, :width]
  across, down = a * x + c * y, b * x + d * y
  across, down = across - across.min(), down - down.min()
  out = np.empty((down.max() + 1, across.max() + 1, *image.shape[2:]), np.uint8)
  out[down, across] = image
  return out


@pytest.fixture(scope="module")
def video(write_video, tmp_path_factory):
  path = tmp_path_factory.mktemp("turned") / "plain.mp4"
  return pathlib.Path(write_video(path, frames=12, gop=4, bf="0"))


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_matrix_of_a_container_is_obeyed(matrix, video, tmp_path):
  data = bytearray(video.read_bytes())
  a, b, c, d = (value << 16 for value in matrix)
  place = data.find(b"tkhd") + 44
  struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
  path = tmp_path / "video.mp4"
  path.write_bytes(data)
  frames, _ = random_videos.sequential(str(path))
  wanted = np.stack([shown(frame, *matrix) for frame in frames])
  height, width = wanted.shape[1:3]
  side = 16

  def box_of(*size):
    assert size == (width, height)
    return 7, 4, side, side

  with Clip(str(path), 10) as clip:
    np.testing.assert_array_equal(clip.read(np.arange(12)), wanted)
    cut = clip.read(np.array([9]), box_of, side)
  np.testing.assert_array_equal(cut[0], wanted[9, 4 : 4 + side, 7 : 7 + side])


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
@pytest.mark.parametrize("every", [True, False])
def test_a_message_on_the_first_frame_goes_for_all(
  suffix, every, video, tmp_path
):
  path = tmp_path / f"video.{suffix}"
  with av.open(str(video)) as old, av.open(str(path), "w") as new:
    source = old.streams.video[0]
    stream = new.add_stream_from_template(source)
    plain = "h264_mp4toannexb"
    turn = "h264_metadata=display_orientation=insert:rotate=90"
    turned = BitStreamFilterContext(f"{plain},{turn}", source)
    upright = BitStreamFilterContext(plain, source)
    for number, packet in enumerate(p for p in old.demux(source) if p.size):
      first = every or not number
      for changed in (turned if first else upright).filter(packet):
        changed.stream = stream
        new.mux(changed)
  frames, _ = random_videos.sequential(str(path))
  wanted = [np.rot90(frame) for frame in frames]
  with Clip(str(path), 10) as clip:  # of a later group alone
    np.testing.assert_array_equal(clip.read(np.array([9]))[0], wanted[9])
  with Clip(str(path), 10) as clip:
    np.testing.assert_array_equal(clip.read(np.arange(12)), wanted)


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_box_cuts_the_same_pixels(matrix):
  a, b, c, d = matrix
  view = View(11, 7, b != 0, min(a, c) < 0, min(b, d) < 0)
  stored = np.arange(7 * 11, dtype=np.uint8).reshape(7, 11, 1)
  upright = shown(stored, *matrix)
  np.testing.assert_array_equal(view.show(stored), upright)
  assert view.shown_size == upright.shape[1::-1]
  x, y, w, h = view.stored_box((2, 1, 3, 4))
  found = view.show(stored[y : y + h, x : x + w])
  np.testing.assert_array_equal(found, upright[1:5, 2:5])
