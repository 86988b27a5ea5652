"""The one way to write a file of ours: it is there whole, old or new.

A path with a scheme, such as gs://bucket/run/results.json, names an object in
a bucket: it appears at once, and cannot be appended to.
"""

import contextlib
import io
import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from etils import epath

from sigma_jax import errors, full_disk

# In a workdir: the traceback behind the one line that its last call ended in.
TRACEBACK = "traceback.txt"

Content = str | bytes | Callable[[BinaryIO], None]


def is_remote(path: str | os.PathLike) -> bool:
  """Whether a path names a scheme."""
  return "://" in os.fspath(path)


def write_whole(file: str | os.PathLike, content: Content) -> None:
  """Writes a file; whatever happens, there is the old one or the new.

  Args:
    file: its folder has to be there.
    content: text (stored as UTF-8), bytes, or a function that writes to the
      open file.

  Raises:
    OSError: it cannot be written.
  """
  file = epath.Path(file)
  partial = file
  if not is_remote(file):
    # A name of its own: another process may be writing the same file.
    partial = file.with_name(f"{file.name}.{os.urandom(4).hex()}.tmp")
  try:
    with full_disk.naming(file), partial.open("wb") as out:
      if callable(content):
        content(out)
      else:
        out.write(content.encode() if isinstance(content, str) else content)
      if partial is not file:
        # Or a power cut leaves an empty file under the final name.
        out.flush()
        os.fsync(out.fileno())
    if partial is not file:
      partial.replace(file)
  except BaseException:
    if partial is not file:
      with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
    raise


def npz(**arrays: np.ndarray) -> bytes:
  """The content of an .npz file."""
  data = io.BytesIO()
  np.savez(data, **arrays)
  return data.getvalue()


def check_local(path: str | os.PathLike, what: str) -> None:
  """Raises UserError where `what`, an option or a file, is in a bucket."""
  if is_remote(path):
    raise errors.UserError(
      f"{what} {os.fspath(path)!r} has to be on a local disk"
    )
