"""Worker processes that a damaged file may crash or hang without harm."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any

_START_LIMIT = 120.0  # seconds for a new process to load its modules
_NEVER = float("inf")


def run(
  function: Callable[[Any], Any],
  jobs: Sequence[Any],
  *,
  workers: int,
  limit: float,
) -> Iterator[tuple[int, Any, str]]:
  """Calls a function on every job, in processes; results as they come.

  A job that crashes its process or exceeds the limit costs that process only:
  another takes its place.

  Args:
    function: of a module, given one job; what it raises is a crash.
    jobs: arguments, which have to pickle.
    workers: processes at once.
    limit: seconds allowed for one job.

  Yields:
    The job's place, the function's result or None, and why there is none or
    an empty string.

  Raises:
    RuntimeError: a process does not start at all.
  """
  # Spawned, not forked: the caller may have threads.
  context = multiprocessing.get_context("spawn")
  waiting = iter(range(len(jobs)))
  crew = {
    worker.pipe: worker
    for worker in (_Worker(context, function) for _ in range(workers))
  }
  done = 0
  try:
    while done < len(jobs):
      soonest = min(worker.deadline for worker in crew.values())
      pause = None if soonest == _NEVER else max(soonest - time.monotonic(), 0)
      ready = connection.wait(list(crew), pause)
      late = [p for p, w in crew.items() if w.deadline <= time.monotonic()]
      for pipe in dict.fromkeys([*ready, *late]):
        worker = crew[pipe]
        answer = worker.answer(pipe in ready, limit)
        if answer is not None:
          done += 1
          yield answer
        if worker.dead:
          worker.close()
          del crew[pipe]
          worker = _Worker(context, function)
          crew[worker.pipe] = worker
        elif worker.job is None and (place := next(waiting, None)) is not None:
          worker.give(place, jobs[place], limit)
  finally:
    for worker in crew.values():
      worker.close()


class _Worker:
  """One process: what it is doing, and until when it may."""

  def __init__(self, context, function):
    self.pipe, child = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(child, function), daemon=True
    )
    self._process.start()
    child.close()
    self._started = False
    self.job: int | None = None
    self.dead = False
    self.deadline = time.monotonic() + _START_LIMIT

  def give(self, place: int, job: Any, limit: float) -> None:
    self.job, self.deadline = place, time.monotonic() + limit
    try:
      self.pipe.send(job)
    except OSError:
      self.dead = True  # found out by the next answer

  def answer(self, ready: bool, limit: float) -> tuple[int, Any, str] | None:
    """What came of the job: a message, a crash, or too much time."""
    result, reason = None, f"took more than {limit:g} s: its reader was killed"
    if ready:
      try:
        result, reason = self.pipe.recv(), ""
      except (EOFError, OSError):
        self._process.join(5)
        reason = f"crashed its reader ({_ending(self._process.exitcode)})"
    self.dead = bool(reason)
    if not self._started:
      if reason:
        raise RuntimeError(f"a reading process does not start: {reason}")
      self._started, self.deadline = True, _NEVER
      return None
    place, self.job, self.deadline = self.job, None, _NEVER
    return None if place is None else (place, result, reason)

  def close(self) -> None:
    self._process.kill()
    self._process.join()
    self.pipe.close()


def _ending(code: int | None) -> str:
  if code is not None and code < 0:
    return signal.Signals(-code).name
  return f"exit code {code}"


def _serve(pipe, function) -> None:
  """A process's life: a note that it has started, then job after job."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
  pipe.send(None)
  while True:
    try:
      job = pipe.recv()
    except EOFError:
      return
    pipe.send(function(job))
