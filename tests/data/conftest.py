"""Small videos whose frames tell their number."""

from fractions import Fraction

import av
import numpy as np
import pytest


def frame_image(number: int, height: int, width: int) -> np.ndarray:
  """Blocks that move 3 pixels a frame, uint8 [height, width, 3]."""
  blocks = np.random.default_rng(1).integers(
    0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8
  )
  image = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
  return np.ascontiguousarray(np.roll(image, 3 * number, 1))


@pytest.fixture(scope="session")
def draw_frame():
  """The function that gives frame `number` before it is compressed."""
  return frame_image


@pytest.fixture(scope="session")
def write_video():
  """Writes a video of `frames` frames; `stamps` are in 1/100 s."""

  def write(
    path,
    frames=30,
    height=48,
    width=64,
    codec="libx264",
    stamps=None,
    rotation=0,
    gop=12,
    muxer=None,
    **options,
  ):
    stamps = [4 * i for i in range(frames)] if stamps is None else stamps
    with av.open(str(path), "w", options=muxer or {}) as container:
      stream = container.add_stream(codec, rate=25)
      stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
      stream.options = {"threads": "1"} | options
      stream.codec_context.gop_size = gop
      stream.codec_context.time_base = Fraction(1, 100)
      if rotation:
        stream.set_display_rotation(rotation)
      for number, stamp in enumerate(stamps):
        frame = av.VideoFrame.from_ndarray(
          frame_image(number, height, width), format="rgb24"
        )
        frame.pts, frame.time_base = stamp, Fraction(1, 100)
        container.mux(stream.encode(frame))
      container.mux(stream.encode(None))
    return str(path)

  return write


@pytest.fixture(scope="session")
def video_folder(write_video, tmp_path_factory):
  """A folder with 13 readable videos and their manifest; labels are rows."""
  folder = tmp_path_factory.mktemp("videos")
  for row in range(13):
    write_video(folder / f"{row}.mp4", frames=10 + row, height=36, width=44)
  lines = [f"{row}.mp4 {row}\n" for row in range(13)]
  (folder / "train.txt").write_text("".join(lines))
  return folder
