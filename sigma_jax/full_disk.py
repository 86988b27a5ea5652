"""A disk without room, told from other errors in any library's words."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

# The disk, a quota, or a limit on the size of files.
_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# TensorStore's [os_error_code='28'], safetensors' (os error 28).
_NUMBER = re.compile(r"os[_ ]error(?:_code='| )(\d+)")


def reason(error: BaseException | None) -> str:
  """Such as "No space left on device"; "" where something else is wrong.

  Args:
    error: as caught, or None; its causes are looked at too.
  """
  code = _code(error)
  return os.strerror(code) if code else ""


def _code(error: BaseException | None) -> int:
  """The system's number; 0: another error."""
  while error is not None:
    if isinstance(error, OSError) and error.errno in _CODES:
      return error.errno
    text = str(error)
    numbers = {int(number) for number in _NUMBER.findall(text)}
    for code in _CODES:
      if code in numbers or os.strerror(code) in text:
        return code
    error = error.__cause__ or error.__context__
  return 0


def line(error: BaseException) -> str:
  """What a user is told of it; "" where something else is wrong."""
  found = reason(error)
  if not found:
    return ""
  return (
    f"no room for {_file(error) or 'a file'} ({found}): what was complete "
    "before is still there; make room, then start the same command again"
  )


@contextlib.contextmanager
def naming(file: str | os.PathLike) -> Iterator[None]:
  """Has the OSError of what is written within name the file.

  `write` gives none, unlike `open`; and some libraries raise errors of their
  own where the disk is full.
  """
  try:
    yield
  except Exception as error:
    if isinstance(error, OSError) and error.errno is not None:
      if error.filename is None:
        error.filename = os.fspath(file)
    elif code := _code(error):
      raise OSError(code, os.strerror(code), os.fspath(file)) from error
    raise


def _file(error: BaseException | None) -> str:
  while error is not None:
    if isinstance(error, OSError) and error.filename:
      return os.fsdecode(error.filename)
    error = error.__cause__ or error.__context__
  return ""
