"""What can be said of a video file before any frame of it is decoded."""

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.stream import Disposition

from sigma_jax.data import storage
from sigma_jax.data.tars.member import Member

# Of one file: its packets are held in memory while a clip is read.
_MAX_BYTES = 1 << 28


class DecodeError(Exception):
  """A file cannot give the frames asked of it, and why, in one line."""

  def __init__(self, path: str | Member, reason: str):
    super().__init__(str(path), reason)
    self.path = str(path)
    self.reason = " ".join(str(reason).split())

  def __str__(self) -> str:
    return f"{self.path}: {self.reason}"


def readable(path: str | Member) -> str | io.BytesIO:
  """What av.open and PIL.Image.open take for a file.

  Returns:
    The path of a local file; all the bytes of a remote one (gs://) or one in a
    tar, so that reading it is one request.

  Raises:
    DecodeError: there is no such file, it may not be read, it is no regular
      file, empty or of an absurd size.
    UserError: there is no way to read such paths.
  """
  try:
    if isinstance(path, Member):
      _check_size(path, path.size)
      return io.BytesIO(path.read())
    if storage.is_remote(path):
      content = _fetched(path)
      _check_size(path, len(content))
      return io.BytesIO(content)
    status = os.stat(path)
  except FileNotFoundError as error:
    raise DecodeError(path, "missing file") from error
  except OSError as error:
    reason = (error.strerror or str(error)).removeprefix(f"{path}: ")
    raise DecodeError(path, f"cannot be read ({reason})") from error
  if not stat.S_ISREG(status.st_mode):
    raise DecodeError(path, "not a regular file")
  _check_size(path, status.st_size)
  if not os.access(path, os.R_OK):
    raise DecodeError(path, "no permission to read it")
  return path


def _fetched(path: str) -> bytes:
  file = storage.open_ranges(path)
  try:
    return file.read(0, _MAX_BYTES + 1)
  finally:
    file.close()


def _check_size(path: str | Member, size: int) -> None:
  if not size:
    raise DecodeError(path, "empty file (0 bytes)")
  if size > _MAX_BYTES:
    raise DecodeError(
      path,
      f"larger than the {_MAX_BYTES >> 20} MiB read for one clip; cut it into "
      "shorter files",
    )


def opened(file: str | io.BytesIO, timeout: float):
  """Opens what `readable` gave: an av.container.InputContainer."""
  if isinstance(file, str):
    # With a folder before it, FFmpeg takes no name for one of its protocols.
    file = os.path.join(os.curdir, file)
  else:
    file = io.BytesIO(file.getvalue())  # of its own place; nothing is copied
  # Some HMDB51 files carry metadata that are not UTF-8.
  return av.open(file, metadata_errors="ignore", timeout=timeout)


@contextlib.contextmanager
def ranges(file: str | io.BytesIO) -> Iterator[Callable[[int, int], bytes]]:
  """Reads what `readable` gave, from a place on, so many bytes."""
  if isinstance(file, str):
    opened_file = storage.open_ranges(file)
    try:
      yield opened_file.read
    finally:
      opened_file.close()
  else:
    content = file.getvalue()
    yield lambda begin, size: content[begin : begin + size]


def video_stream(path: str, container: av.container.InputContainer):
  """The video stream that players show; DecodeError if none can be decoded.

  That is the one marked as default, no single picture if there is any other,
  and of several FFmpeg's choice (av_find_best_stream). The cover picture of a
  song, which counts as video to FFmpeg, is none.
  """
  streams = [
    stream
    for stream in container.streams.video
    if not stream.disposition & Disposition.attached_pic
  ]
  if not streams:
    raise DecodeError(path, "no video stream in it")
  marked = [s for s in streams if s.disposition & Disposition.default]
  streams = marked or streams
  streams = [s for s in streams if s.frames != 1] or streams
  best = container.streams.best("video")
  stream = best if best in streams else streams[0]
  if stream.codec_context is None:
    raise DecodeError(path, "damaged header, or a codec nobody knows")
  return stream


def stated_seconds(container, stream) -> float | None:
  """Where the container says that the video ends, seconds, if it says so."""
  names = container.format.name.split(",")
  if "avi" in names and stream.duration:
    return float(stream.duration * stream.time_base)
  if "matroska" in names:
    text = stream.metadata.get("DURATION", "")
    with contextlib.suppress(ValueError):
      hours, minutes, seconds = map(float, text.split(":"))
      return 3600 * hours + 60 * minutes + seconds
    # The whole file's length is the video's only where there is no sound.
    if container.duration and len(container.streams) == 1:
      return container.duration / av.time_base
  return None


def even_times(indices: np.ndarray, fps: float) -> np.ndarray:
  """Seconds at which frames are shown: [n]; zeros if fps is 0, not known."""
  return np.asarray(indices) / fps if fps else np.zeros(len(indices))


@contextlib.contextmanager
def one_error(path: str, problem: str):
  """Turns whatever a damaged file provokes into DecodeError.

  `problem` says what did not succeed: "cannot be opened".
  """
  try:
    yield
  except DecodeError:
    raise
  except (AttributeError, NameError, ImportError):
    raise  # a mistake of ours is no damage of the file's
  except av.error.ExitError as error:
    raise DecodeError(path, "timeout while reading") from error
  except Exception as error:
    # PyAV lets damaged files surface as FFmpegError, OSError, EOFError,
    # UnicodeError, ValueError and MemoryError: all mean the same here.
    text = getattr(error, "strerror", None) or str(error) or repr(error)
    raise DecodeError(path, f"{problem} ({text})") from error
