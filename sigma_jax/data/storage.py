"""Files by path, on this machine or where `scheme://` says (gs:// and others).

Local files go through the operating system. The others go through TensorFlow,
which is imported for them alone.
"""

import concurrent.futures
import glob
import os
import shutil
from collections.abc import Sequence

from sigma_jax import errors, files
from sigma_jax.files import is_remote

UNKNOWN = -1  # size of a file
_THREADS = 16  # requests at once


def is_file(path: str) -> bool:
  """Whether there is such a file."""
  if is_remote(path):
    return _remote(lambda io: io.exists(path) and not io.isdir(path), path)
  return os.path.isfile(path)


def is_dir(path: str) -> bool:
  """Whether there is such a folder."""
  if is_remote(path):
    return _remote(lambda io: io.isdir(path), path)
  return os.path.isdir(path)


def stamp(path: str) -> tuple[int, int] | None:
  """Size in bytes and time of change in ns: another, and it was written anew.

  None of a file that is missing, and of remote ones: each would be a request.
  """
  if is_remote(path):
    return None
  try:
    found = os.stat(path)
  except OSError:
    return None
  return found.st_size, found.st_mtime_ns


def stamps(paths: Sequence[str]) -> list[tuple[int, int] | None]:
  """As `stamp`, of remote files too, many at once: for a few large files."""

  def one(path: str) -> tuple[int, int] | None:
    try:
      found = _remote(lambda io: io.stat(path), path)
    except FileNotFoundError:
      return None
    return found.length, found.mtime_nsec

  if not any(map(is_remote, paths)):
    return list(map(stamp, paths))
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    return list(pool.map(one, paths))


def matching(pattern: str) -> list[str]:
  """Paths that a pattern with `*`, `?` and `[]` matches, sorted."""
  if is_remote(pattern):
    return sorted(_remote(lambda io: io.glob(pattern), pattern))
  return sorted(glob.glob(pattern))


def sizes(folder: str) -> dict[str, int]:
  """Names and sizes in bytes of a folder's files.

  Those of remote files are UNKNOWN: each would be a request of its own.
  """
  if is_remote(folder):
    return dict.fromkeys(names(folder), UNKNOWN)
  with os.scandir(folder) as entries:
    return {e.name: e.stat().st_size for e in entries if e.is_file()}


def names(folder: str) -> list[str]:
  """Names of what a folder holds."""
  if is_remote(folder):
    found = _remote(lambda io: io.listdir(folder), folder)
    return [name.rstrip("/") for name in found]
  return os.listdir(folder)


def make_dir(folder: str) -> None:
  """Makes a folder and those above it, as far as they are missing."""
  if is_remote(folder):
    _remote(lambda io: io.makedirs(folder), folder)
  else:
    os.makedirs(folder, exist_ok=True)


def read(path: str) -> bytes:
  """All of a file."""
  if is_remote(path):
    return _remote(lambda io: io.GFile(path, "rb").read(), path)
  with open(path, "rb") as file:
    return file.read()


class _Local:
  def __init__(self, path: str):
    self._file = os.open(path, os.O_RDONLY)

  def read(self, begin: int, size: int) -> bytes:
    return os.pread(self._file, size, begin)

  def close(self) -> None:
    os.close(self._file)


class _Remote:
  def __init__(self, path: str):
    self._path = path
    self._file = _remote(lambda io: io.GFile(path, "rb"), path)

  def read(self, begin: int, size: int) -> bytes:
    return _remote(lambda _: self._read(begin, size), self._path)

  def _read(self, begin: int, size: int) -> bytes:
    self._file.seek(begin)
    return self._file.read(size)

  def close(self) -> None:
    _remote(lambda _: self._file.close(), self._path)


def open_ranges(path: str) -> _Local | _Remote:
  """A file with `read(begin, size)`, which gives less at its end; `close()`."""
  return _Remote(path) if is_remote(path) else _Local(path)


def write(path: str, data: bytes) -> None:
  """Writes a file as a whole: after a kill there is the old one, or this."""
  if is_remote(path):
    # Object stores show a file once it is complete.
    def write_to(io):
      with io.GFile(path, "wb") as file:
        file.write(data)

    _remote(write_to, path)
    return
  files.write_whole(path, data)


def put(local: str, path: str) -> None:
  """Moves a local file, on the same disk if `path` is local; whole or not."""
  if is_remote(path):
    _remote(lambda io: io.copy(local, path, overwrite=True), path)
    os.remove(local)
    return
  os.replace(local, path)


def remove_tree(folder: str) -> None:
  """Removes a folder with all that is in it."""
  if is_remote(folder):
    _remote(lambda io: io.rmtree(folder), folder)
  else:
    shutil.rmtree(folder)


def _remote(action, path: str):
  """Runs an action on TensorFlow's file system; its failures are OSErrors."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  from sigma_jax.data.lean_tensorflow import tf

  try:
    return action(tf.io.gfile)
  except tf.errors.NotFoundError as error:
    raise FileNotFoundError(f"{path}: no such file") from error
  except tf.errors.UnimplementedError as error:
    raise errors.UserError(
      f"{path}: {path.split('://')[0]}:// is not known to TensorFlow; use a "
      "local path or gs://"
    ) from error
  except tf.errors.OpError as error:
    message = " ".join(str(error.message).split())
    raise OSError(f"{path}: {message}") from error
