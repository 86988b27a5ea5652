"""Calls that are not waited for longer than so long, whatever they do.

Reading checks its deadline between FFmpeg's calls. What never returns from one
(a disk or mount that does not answer, an endless loop in a decoder) can only be
left behind: Python cannot end a thread.
"""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class Overdue(Exception):
  """A call has not returned in time, and has been left behind."""


_own = threading.local()


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
  """What `call` returns or raises.

  It runs in a second thread, which serves the calling thread from then on.

  Raises:
    Overdue: after that time. The call goes on, if it does, and keeps what it
      holds; nothing of it may be touched from here any more.
  """
  helper = getattr(_own, "helper", None) or _Helper()
  _own.helper = (
    None  # as long as it is busy, and for ever if it does not return
  )
  answer = helper.ask(call, seconds)
  _own.helper = helper
  return answer()


class _Helper:
  """A thread that makes calls for another one."""

  def __init__(self):
    self._calls, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
    threading.Thread(
      target=_serve,
      args=(self._calls, self._answers),
      name="reader",
      daemon=True,
    ).start()

  def ask(self, call: Callable, seconds: float) -> Callable:
    """Something to call that returns or raises what `call` did."""
    self._calls.put(call)
    try:
      return self._answers.get(timeout=seconds)
    except queue.Empty as error:
      raise Overdue from error

  def __del__(self):
    self._calls.put(None)


def _serve(calls: queue.SimpleQueue, answers: queue.SimpleQueue) -> None:
  while (call := calls.get()) is not None:
    answers.put(_outcome(call))
    del call  # what it holds is not to stay until the next one


def _outcome(call: Callable) -> Callable:
  try:
    value = call()
  except BaseException as error:
    return _Raise(error)
  return lambda: value


class _Raise:
  def __init__(self, error: BaseException):
    self._error = error

  def __call__(self):
    try:
      raise self._error
    finally:
      del self._error  # or traceback and error would hold each other
