"""Pixels of a clip: crop, resize, mirror."""

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

# swscale widens its filter when it shrinks, so this is antialiased. The FULL
# flags keep it from halving the colour resolution, which RGB input suffers by
# default (measured on noise: 5.2 grey levels off Pillow's result, then 0.2).
_FILTER = (
  Interpolation.BILINEAR
  | Interpolation.ACCURATE_RND
  | Interpolation.FULL_CHR_H_INT
  | Interpolation.FULL_CHR_H_INP
)


def crop_resize(
  video: np.ndarray, box: tuple[int, int, int, int], size: int
) -> np.ndarray:
  """Cuts a box out of every frame and scales it to a square.

  Args:
    video: uint8 [t, h, w, 3], RGB.
    box: x, y, width and height, pixels, inside the frames.
    size: side of the result, pixels.

  Returns:
    uint8 [t, size, size, 3]; bilinear, antialiased, rounded. Where the box has
    that size already, a view of the input.
  """
  x, y, width, height = box
  video = video[:, y : y + height, x : x + width]
  if (width, height) == (size, size):
    return video
  scaler = VideoReformatter()
  out = np.empty((len(video), size, size, 3), np.uint8)
  for number, frame in enumerate(video):
    source = av.VideoFrame.from_ndarray(
      np.ascontiguousarray(frame), format="rgb24"
    )
    scaled = scaler.reformat(
      source, width=size, height=size, interpolation=_FILTER, threads=1
    )
    out[number] = scaled.to_ndarray()
  return out


def mirror(video: np.ndarray) -> np.ndarray:
  """Swaps left and right: [t, h, w, 3] -> a view of the same shape."""
  return video[:, :, ::-1]
