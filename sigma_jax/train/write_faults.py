"""Writing what a run saves: a disk that fails or is full ends it in one line.

Orbax and TensorStore write from threads of their own, which print a traceback
for each array that was under way. They raise the first of them to us as well.
"""

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator

from sigma_jax import errors, full_disk
from sigma_jax.train import storage_faults as faults
from sigma_jax.train import stored
from sigma_jax.train import workdir as workdir_lib

# Where Orbax logs an exception that it also raises to its caller.
_RAISED_TOO = tuple(
  os.path.join("orbax", "checkpoint", *place)
  for place in (
    ("checkpoint_manager.py",),
    ("_src", "futures", "future.py"),
    ("_src", "checkpointers", "async_checkpointer.py"),
  )
)


@contextlib.contextmanager
def of_checkpoints(
  folder, problem: str = "a checkpoint cannot be written to {}"
) -> Iterator[None]:
  """Turns whatever Orbax meets in a folder into RunStopped.

  Args:
    folder: of all checkpoints.
    problem: what is said of the folder.
  """
  try:
    yield
  except errors.RunStopped:
    raise
  except Exception as error:
    reason = full_disk.reason(error) or faults.line(error)
    newest = _newest(folder) or "none"
    raise errors.RunStopped(
      f"{problem.format(folder)} ({reason}); newest complete one: {newest}; "
      "make room, or see to the disk: the same command resumes"
    ) from error


@contextlib.contextmanager
def of_run(workdir: str | os.PathLike) -> Iterator[None]:
  """Turns a full disk into RunStopped, which says what is saved."""
  try:
    yield
  except (errors.RunStopped, errors.UserError):
    raise
  except Exception as error:
    text = full_disk.line(error)
    if not text:
      raise
    newest = _newest(workdir_lib.checkpoints(workdir))
    text += f"; newest complete checkpoint: {newest}" if newest else ""
    raise errors.RunStopped(text) from error


def _newest(folder) -> str:
  """Asked of the disk: a manager counts what it is still writing.

  Whatever goes wrong here must not hide the error that is being told.
  """
  with contextlib.suppress(Exception):
    if steps := stored.steps(folder):
      return f"step {max(steps)}"
  return ""


def mute() -> None:
  """Keeps from the terminal what is raised to us as well, from here on.

  For the rest of the process: some of it is printed when Python ends. What is
  not of a failed write is printed as ever.
  """
  for name, keep in (("absl", _keep_orbax), ("asyncio", _keep_asyncio)):
    logging.getLogger(name).addFilter(keep)  # once: it looks for it first
  warnings.filterwarnings(
    "ignore", r"coroutine 'async_serialize.*never awaited", RuntimeWarning
  )
  before = sys.unraisablehook
  if getattr(before, "mutes", False):
    return

  def hook(unraisable):
    if not _is_late(unraisable.exc_value):
      before(unraisable)

  hook.mutes = True
  sys.unraisablehook = hook


def _keep_orbax(record: logging.LogRecord) -> bool:
  return not (record.exc_info and record.pathname.endswith(_RAISED_TOO))


def _keep_asyncio(record: logging.LogRecord) -> bool:
  """Tasks that were under way when the first one failed are not kept."""
  text = record.getMessage()
  if record.exc_info:
    text += "".join(traceback.format_exception(*record.exc_info))
  return "never retrieved" not in text or "orbax" not in text


def _is_late(error: BaseException | None) -> bool:
  """Whether TensorStore answers an event loop that Orbax has closed."""
  return isinstance(error, RuntimeError) and str(error) == (
    "Event loop is closed"
  )
