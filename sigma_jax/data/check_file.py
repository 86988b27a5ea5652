"""What one file of a data set holds, or why it cannot be read."""

import dataclasses
import hashlib
import os
import time

import numpy as np
import PIL.Image

from sigma_jax import errors
from sigma_jax.data import decode, sequences, stills
from sigma_jax.data.containers import DecodeError

# The clip that is timed: the usual one of pre-training.
CLIP_FRAMES, CLIP_STRIDE = 16, 4
_CHUNK_BYTES = 1 << 28  # of frames held at once when all are read


@dataclasses.dataclass(frozen=True)
class Job:
  """One file to examine.

  Attributes:
    path: the file.
    timeout: seconds for reading it.
    full: whether every frame is decoded, or only a clip and the last frame.
    is_mask: whether it is a segmentation mask.
  """

  path: str
  timeout: float
  full: bool = False
  is_mask: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
  """What was found.

  Attributes:
    reason: why it cannot be read; empty: it can.
    num_bytes: size of the file.
    codec: such as h264, JPEG or mask.
    width: pixels.
    height: pixels.
    fps: frames a second; 0 where the file does not say, or is an image.
    num_frames: 1 for images.
    seconds: taken to open the file and decode one clip (an image: once).
  """

  reason: str = ""
  num_bytes: int = 0
  codec: str = ""
  width: int = 0
  height: int = 0
  fps: float = 0.0
  num_frames: int = 0
  seconds: float = 0.0


def examine(job: Job) -> Finding:
  """Reads a file; never raises."""
  try:
    if job.is_mask:
      found = _mask(job.path)
    elif stills.is_still(job.path):
      found = _still(job.path)
    else:
      found = _video(job)
    size = os.path.getsize(job.path)
  except DecodeError as error:
    return Finding(error.reason)
  except errors.UserError as error:
    return Finding(str(error))
  except Exception as error:  # any other is the reader's fault, not the user's
    text = " ".join(str(error).split())
    return Finding(f"its reader failed: {type(error).__name__}: {text}")
  return dataclasses.replace(found, num_bytes=size)


def digest(path: str) -> str | None:
  """Fingerprint of a file's content; None if it cannot be read."""
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "blake2b").hexdigest()
  except OSError:
    return None


def _video(job: Job) -> Finding:
  start = time.perf_counter()
  with decode.Clip(job.path, job.timeout) as clip:
    count, info = clip.num_frames, clip.info
    span = (CLIP_FRAMES - 1) * CLIP_STRIDE + 1
    places = max(count - span, 0) // 2 + CLIP_STRIDE * np.arange(CLIP_FRAMES)
    clip.read(np.minimum(places, count - 1))
    seconds = time.perf_counter() - start
    if job.full:
      chunk = max(_CHUNK_BYTES // (3 * info.width * info.height), 1)
      for first in range(0, count, chunk):
        clip.read(np.arange(first, min(first + chunk, count)))
    else:
      clip.read(np.asarray([count - 1]))
  return Finding(
    codec=info.codec,
    width=info.width,
    height=info.height,
    fps=info.fps,
    num_frames=count,
    seconds=seconds,
  )


def _still(path: str) -> Finding:
  start = time.perf_counter()
  with stills.Still(path) as image:
    height, width = image.read(np.zeros(1, np.int64)).shape[1:3]
  seconds = time.perf_counter() - start
  with PIL.Image.open(path) as image:
    codec = image.format
  return Finding(
    codec=codec, width=width, height=height, num_frames=1, seconds=seconds
  )


def _mask(path: str) -> Finding:
  start = time.perf_counter()
  height, width = sequences.read_mask(path).shape
  seconds = time.perf_counter() - start
  return Finding(
    codec="mask", width=width, height=height, num_frames=1, seconds=seconds
  )
