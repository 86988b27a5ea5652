"""Reading what a run has saved: damage is one thing, a failing disk another.

What fails its checksum or its format will never be read. An I/O error, a
server that answers 503 or a lack of memory passes, or is for a person to mend:
it is tried again a few times, and then ends the run with everything in place.
All processes of a run come to the same verdict.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from sigma_jax import errors
from sigma_jax.train import metrics

T = TypeVar("T")
# Seconds before another try.
_WAITS = (1.0, 5.0, 20.0)
# From good to bad: the worst of all processes counts. A file that is missing
# from a complete checkpoint may be one that this host does not see yet.
_READ, _DAMAGED, _MISSING, _FAILED = range(4)
# How TensorStore begins the messages of its errors, which are ValueErrors.
_DAMAGE = re.compile(
  r"\s*(DATA_LOSS|OUT_OF_RANGE|FAILED_PRECONDITION|INVALID_ARGUMENT)\b"
)
_ABSENCE = re.compile(r"\s*NOT_FOUND\b")
_REASON_BYTES = 240


class Damaged(ValueError):
  """Content that is not what was saved, or is not in its format."""


def patiently(what: str, read: Callable[[], T]) -> T:
  """What `read` gives; it is called again while storage or memory fails.

  To be called by all processes at once.

  Args:
    what: is read, the subject of a sentence.
    read: without communication with other processes.

  Raises:
    Damaged: what is there is damaged, as some process has seen twice.
    RunStopped: it cannot be read for another reason.
  """
  waits = iter(_WAITS)
  damaged = False
  while True:
    kind, found, reason = _READ, None, ""
    try:
      found = read()
    except Exception as error:
      kind, reason = _kind(error), line(error)
    kind, reason = _worst(kind, reason)
    if kind == _READ:
      return found
    wait = next(waits, None)
    if (kind == _DAMAGED and damaged) or (kind == _MISSING and wait is None):
      raise Damaged(reason)
    if wait is None:
      raise errors.RunStopped(
        f"{what} cannot be read ({reason}); nothing was moved or overwritten: "
        "look at the storage and the memory, the same command tries again"
      )
    metrics.say(
      f"warning: {what} cannot be read ({reason}); tried again in {wait:g} s"
    )
    time.sleep(wait)
    damaged = kind == _DAMAGED


def line(error: BaseException) -> str:
  """An error's innermost reason, in one short line."""
  *_, error = _chain(error)
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= 200 else text[:200] + "..."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
  while error is not None:
    yield error
    error = error.__cause__


def _kind(error: BaseException) -> int:
  """Of the innermost error; what is not known to be damage is none."""
  *_, inner = _chain(error)
  text = str(inner)
  if isinstance(inner, FileNotFoundError):
    return _MISSING
  if type(inner) is ValueError and _ABSENCE.match(text):
    return _MISSING
  if type(inner) is ValueError and _DAMAGE.match(text):
    # EBUSY and others of the system's errors have the same names.
    return _FAILED if "OS error" in text else _DAMAGED
  # A KeyError: Orbax's own lists of arrays, read but not as it wrote them.
  known = (Damaged, json.JSONDecodeError, UnicodeDecodeError, KeyError)
  return _DAMAGED if isinstance(inner, known) else _FAILED


def _worst(kind: int, reason: str) -> tuple[int, str]:
  """The worst of all processes' verdicts, the same on every process."""
  if jax.process_count() == 1:
    return kind, reason
  text = np.zeros(1 + _REASON_BYTES, np.uint8)
  content = reason.encode()[:_REASON_BYTES]
  text[0] = kind
  text[1 : 1 + len(content)] = np.frombuffer(content, np.uint8)
  rows = np.asarray(multihost_utils.process_allgather(text))
  process = int(np.argmax(rows[:, 0]))
  told = rows[process, 1:].tobytes().rstrip(b"\0").decode(errors="replace")
  return int(rows[process, 0]), f"process {process}: {told}"
