"""One video or image as the records of a prepared folder."""

import dataclasses
from collections.abc import Iterator

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from sigma_jax import errors
from sigma_jax.data import opening
from sigma_jax.data.records import jpeg, record_format
from sigma_jax.data.records.record_format import MICROSECONDS, SEGMENT
from sigma_jax.data.sources import Video
from sigma_jax.data.video import transforms
from sigma_jax.data.video.containers import DecodeError, one_error
from sigma_jax.data.video.orientation import View
from sigma_jax.data.video.pixels import fitted

# For frames that become smaller; the flags as in transforms.py.
_SHRINK = (
  Interpolation.BICUBIC
  | Interpolation.ACCURATE_RND
  | Interpolation.FULL_CHR_H_INT
  | Interpolation.FULL_CHR_H_INP
)


@dataclasses.dataclass(frozen=True)
class Job:
  """A row of a manifest and how it is to be stored.

  Attributes:
    row: of the manifest.
    file: its name.
    label: its class.
    short_side: pixels; larger frames are made as small as that, 0: none are.
    quality: of the JPEGs, 1 to 95.
    timeout: seconds for the whole file.
    address: what it is opened by; None: its name, a path.
  """

  row: int
  file: str
  label: int
  short_side: int
  quality: int
  timeout: float
  address: opening.Address | None = None


@dataclasses.dataclass(frozen=True)
class Encoded:
  """What became of a row.

  Attributes:
    records: serialized Examples, in order; none if the file is no good.
    frames: of the video.
    fps: its frames a second; 0 where the file does not say, and for an image.
    reason: why the file is no good; empty if it is.
  """

  records: tuple[bytes, ...] = ()
  frames: int = 0
  fps: float = 0.0
  reason: str = ""

  @property
  def seconds(self) -> float:
    """Its length; 0 where the file does not say, and for an image."""
    return self.frames / self.fps if self.fps else 0.0


def encode(job: Job) -> Encoded:
  """Reads a file and encodes all its frames; what is wrong is in the result."""
  try:
    with opening.opened(job.address or job.file, job.timeout) as video:
      records = _records(job, video.frames(), video)
      return Encoded(records, video.num_frames, video.info.fps)
  except DecodeError as error:
    return Encoded(reason=error.reason)
  except errors.UserError as error:  # a path that nothing here can read
    return Encoded(reason=str(error))


def _records(
  job: Job, frames: Iterator[tuple[av.VideoFrame, View]], video: Video
) -> tuple[bytes, ...]:
  """Of all frames of a video."""
  records, images, count = [], [], video.num_frames
  for number, frame in enumerate(_upright(job, frames), 1):
    with one_error(job.file, "cannot be encoded"):
      images.append(jpeg.encode(frame, job.quality))
    if len(images) == SEGMENT or number == count:
      first = number - len(images)
      times = video.times(np.arange(first, number))
      records.append(
        record_format.encode(
          images,
          row=job.row,
          first=first,
          times=np.rint(times * MICROSECONDS).astype(int).tolist(),
          count=count,
          label=job.label,
          file=job.file,
        )
      )
      images = []
  return tuple(records)


def _upright(
  job: Job, frames: Iterator[tuple[av.VideoFrame, View]]
) -> Iterator[np.ndarray]:
  """RGB frames, turned and made smaller: uint8 [h, w, 3] each."""
  reformatter, scaler = VideoReformatter(), VideoReformatter()
  for frame, view in frames:
    frame = fitted(frame, view, scaler)
    width, height = _smaller(frame.width, frame.height, job.short_side)
    if (width, height) == (frame.width, frame.height):
      rgb = transforms.to_rgb(frame, reformatter)
    else:
      rgb = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        interpolation=_SHRINK,
        threads=1,
      ).to_ndarray()
    yield np.ascontiguousarray(view.show(rgb))


def _smaller(width: int, height: int, short_side: int) -> tuple[int, int]:
  """The size, pixels, whose short side is short_side, or the old one."""
  short = min(width, height)
  if not short_side or short <= short_side:
    return width, height
  return tuple(round(side * short_side / short) for side in (width, height))
