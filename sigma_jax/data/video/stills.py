"""Images as videos of one frame, which a clip repeats."""

import contextlib
import pathlib
from collections.abc import Iterator

import av
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from sigma_jax.data.video import pixels, transforms
from sigma_jax.data.video.containers import DecodeError, readable
from sigma_jax.data.video.decode import VideoInfo
from sigma_jax.data.video.orientation import View

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_VIDEOS = ("PNG", "GIF")  # Pillow's names; FFmpeg reads all their frames
_MOVING = (*_VIDEOS, "WEBP", "AVIF")
_MAX_PIXELS = 16384 * 16384  # beyond it a header is not believed


def opened(path: str) -> "Still | None":
  """An image; None: it is a video, which an animated PNG or GIF is too.

  What is an image, its name says.

  Raises:
    DecodeError: as Still does, and for animations of other kinds.
  """
  if pathlib.PurePath(path).suffix.lower() not in SUFFIXES:
    return None
  try:
    return Still(path)
  except Animation as animation:
    if animation.format in _VIDEOS:
      return None
    raise


class Animation(DecodeError):
  """An image of several frames.

  Attributes:
    format: Pillow's name of it.
  """

  def __init__(self, path: str, format_name: str):
    super().__init__(
      path,
      f"an animated {format_name}, which is neither a still image nor read as "
      "a video; make it an mp4",
    )
    self.format = format_name


class Still:
  """One image as a `sources.Video` of one frame.

  Attributes:
    num_frames: 1.
    info: VideoInfo as shown; the codec is Pillow's name of the format.
  """

  num_frames = 1

  def __init__(self, path: str):
    """Reads and decodes the image.

    Raises:
      DecodeError: missing, empty, damaged, of absurd size, no image, or several
        (Animation).
    """
    with _read(path) as image:
      upright = _eight_bits(PIL.ImageOps.exif_transpose(image))
      self._frame = np.asarray(upright.convert("RGB"))
      self.info = VideoInfo(1, *upright.size, 0.0, image.format)
    self._path = path

  def __enter__(self) -> "Still":
    return self

  def __exit__(self, *_) -> None:
    pass

  def read(
    self, indices, box_of=None, size: int = 0, antialias: bool = True
  ) -> np.ndarray:
    """As `sources.Video.read`."""
    if np.max(indices) > 0:
      raise DecodeError(self._path, f"frame {np.max(indices)} wanted of 1")
    frames = self._frame[None, None]
    if box_of is not None:
      height, width = self._frame.shape[:2]
      frames = np.stack(
        [
          transforms.crop_resize(frames[0], box, size, antialias)
          for box in pixels.boxes_of(box_of, width, height)
        ]
      )
    return pixels.arranged(frames, np.zeros(len(indices), int), box_of)

  def times(self, indices) -> np.ndarray:
    """As `sources.Video.times`: zeros."""
    return np.zeros(len(indices))

  def frames(self) -> Iterator[tuple[av.VideoFrame, View]]:
    """As `decode.Clip.frames`."""
    frame = av.VideoFrame.from_ndarray(self._frame, format="rgb24")
    yield frame, View(frame.width, frame.height)


def probe(path: str) -> tuple[int, int, str]:
  """Width and height of an image as shown and Pillow's name of its format.

  By its header alone.

  Raises:
    DecodeError: as Still does, but for what is damaged behind the header.
  """
  with _read(path) as image:
    turned = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) > 4
    width, height = image.size[::-1] if turned else image.size
    return width, height, image.format


@contextlib.contextmanager
def _read(path: str) -> Iterator[PIL.Image.Image]:
  """An opened image; what goes wrong with it within is a DecodeError."""
  file = readable(path)
  try:
    with PIL.Image.open(file) as image:
      # Cameras put several pictures into one JPEG, of which the first counts.
      if image.format in _MOVING and image.is_animated:
        raise Animation(path, image.format)
      if not 0 < image.width * image.height <= _MAX_PIXELS:
        raise DecodeError(
          path, f"absurd size: {image.width} x {image.height} pixels"
        )
      yield image
  except DecodeError:
    raise
  except Exception as error:
    # Damaged images surface as OSError, SyntaxError, ValueError and others.
    raise DecodeError(path, f"not a readable image ({error})") from error


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
  """Where Pillow's conversion to RGB would cut values off, or warn."""
  if image.mode.startswith("I;16"):  # it takes all above 255 for white
    return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  if image.mode in ("I", "F"):
    raise ValueError(f"pixels of mode {image.mode} have no known range")
  if image.mode == "P" and "transparency" in image.info:
    return image.convert("RGBA")
  return image
