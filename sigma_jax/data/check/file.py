"""What one file of a data set holds, or why it cannot be read."""

import dataclasses
import functools
import time

import numpy as np

from sigma_jax import errors
from sigma_jax.data import opening
from sigma_jax.data.annotations import sequences
from sigma_jax.data.records import records
from sigma_jax.data.video import decode, frame_folder, stills
from sigma_jax.data.video.containers import DecodeError

# The clip that is timed: the usual one of pre-training.
CLIP_FRAMES, CLIP_STRIDE = 16, 4
_CHUNK_BYTES = 1 << 28  # of frames held at once when all are read


@dataclasses.dataclass(frozen=True)
class Job:
  """One file to examine, or one video of prepared records.

  Attributes:
    path: the file or the folder, or where in a tar it is.
    timeout: seconds for reading it.
    full: whether every frame is decoded, or only a clip and the last frame.
    is_mask: whether it is a segmentation mask.
    row: of the folder; -1: it is a file.
  """

  path: opening.Address
  timeout: float
  full: bool = False
  is_mask: bool = False
  row: int = -1


@dataclasses.dataclass(frozen=True)
class Finding:
  """What was found.

  Attributes:
    reason: why it cannot be read; empty: it can.
    num_bytes: size of the file.
    alike: what files of equal content have in common.
    codec: such as h264, JPEG or mask.
    width: pixels.
    height: pixels.
    fps: frames a second; 0 where the file does not say, or is an image.
    num_frames: 1 for images.
    seconds: taken to open the file and decode one clip (an image: once).
    note: what is odd about it, though it can be read.
  """

  reason: str = ""
  num_bytes: int = 0
  alike: int | str = 0
  codec: str = ""
  width: int = 0
  height: int = 0
  fps: float = 0.0
  num_frames: int = 0
  seconds: float = 0.0
  note: str = ""


def examine(job: Job) -> Finding:
  """Reads a file; never raises."""
  try:
    if job.row >= 0:
      return _record(job)
    found = _mask(job.path) if job.is_mask else _opened(job)
    size = opening.num_bytes(job.path)
  except DecodeError as error:
    return Finding(error.reason)
  except errors.UserError as error:
    return Finding(str(error))
  except Exception as error:  # any other is the reader's fault, not the user's
    text = " ".join(str(error).split())
    return Finding(f"its reader failed: {type(error).__name__}: {text}")
  return dataclasses.replace(found, num_bytes=size, alike=size)


def digest(job: Job) -> str | None:
  """Fingerprint of a file's or record's content; None if it cannot be read."""
  try:
    if job.row >= 0:
      with _records(job.path).open(job.row, job.timeout) as video:
        return video.fingerprint()
    return opening.digest(job.path)
  except (OSError, DecodeError):
    return None


# A process reads the index of each folder once.
_records = functools.cache(records.Records)


def _record(job: Job) -> Finding:
  start = time.perf_counter()
  with _records(job.path).open(job.row, job.timeout) as video:
    seconds, (height, width) = _read(video, job.full, start)
    count = video.num_frames
    last = float(video.times(np.array([count - 1]))[0])
    return Finding(
      num_bytes=video.num_bytes,
      alike=video.fingerprint(count - 1),
      codec="JPEG",
      width=width,
      height=height,
      fps=(count - 1) / last if last else 0.0,
      num_frames=count,
      seconds=seconds,
    )


def _read(video, full: bool, start: float) -> tuple[float, tuple[int, int]]:
  """Reads a clip and the last frame, or all.

  Returns:
    Seconds from `start` until the clip was there; height and width.
  """
  count = video.num_frames
  span = (CLIP_FRAMES - 1) * CLIP_STRIDE + 1
  places = max(count - span, 0) // 2 + CLIP_STRIDE * np.arange(CLIP_FRAMES)
  clip = video.read(np.minimum(places, count - 1))
  seconds = time.perf_counter() - start
  if full:
    chunk = max(_CHUNK_BYTES // clip[0].nbytes, 1)
    for first in range(0, count, chunk):
      video.read(np.arange(first, min(first + chunk, count)))
  else:
    video.read(np.asarray([count - 1]))
  return seconds, clip.shape[1:3]


def _opened(job: Job) -> Finding:
  start = time.perf_counter()
  with opening.opened(job.path, job.timeout) as video:
    if isinstance(video, stills.Still):  # not 16 copies of a large image
      seconds = time.perf_counter() - start
    else:
      seconds, _ = _read(video, job.full, start)
    return _found(video, job.full, seconds)


def _found(video: opening.Opened, full: bool, seconds: float) -> Finding:
  """What is told of a video that was read."""
  reason = note = ""
  if isinstance(video, frame_folder.Frames):
    video.check_sizes()
    note = frame_folder.holes(video.names)
  elif isinstance(video, decode.Clip) and full:
    reason = video.damage()
  info = video.info
  return Finding(
    reason=reason,
    codec=info.codec,
    width=info.width,
    height=info.height,
    fps=info.fps,
    num_frames=info.num_frames,
    seconds=seconds,
    note=note,
  )


def _mask(path: str) -> Finding:
  start = time.perf_counter()
  height, width = sequences.read_mask(path).shape
  seconds = time.perf_counter() - start
  return Finding(
    codec="mask", width=width, height=height, num_frames=1, seconds=seconds
  )
