"""Images as videos of one frame, which a clip repeats."""

import pathlib

import numpy as np
import PIL.Image
import PIL.ImageOps

from sigma_jax.data import pixels, transforms
from sigma_jax.data.containers import DecodeError, readable

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_MAX_PIXELS = 16384 * 16384  # beyond it a header is not believed


def is_still(path: str) -> bool:
  """Whether a file is an image, by its name."""
  return pathlib.PurePath(path).suffix.lower() in _SUFFIXES


class Still:
  """One image as a `sources.Video` with num_frames 1."""

  num_frames = 1

  def __init__(self, path: str):
    """Reads and decodes the image.

    Raises:
      DecodeError: missing, empty, damaged, of absurd size, or no image.
    """
    file = readable(path)
    try:
      with PIL.Image.open(file) as image:
        if not 0 < image.width * image.height <= _MAX_PIXELS:
          raise DecodeError(
            path, f"absurd size: {image.width} x {image.height} pixels"
          )
        upright = _eight_bits(PIL.ImageOps.exif_transpose(image))
        self._frame = np.asarray(upright.convert("RGB"))
    except DecodeError:
      raise
    except Exception as error:
      # Damaged images surface as OSError, SyntaxError, ValueError and others.
      raise DecodeError(path, f"not a readable image ({error})") from error
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


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
  """Where Pillow's conversion to RGB would cut values off, or warn."""
  if image.mode.startswith("I;16"):  # it takes all above 255 for white
    return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  if image.mode in ("I", "F"):
    raise ValueError(f"pixels of mode {image.mode} have no known range")
  if image.mode == "P" and "transparency" in image.info:
    return image.convert("RGBA")
  return image
