"""SIGTERM and Ctrl-C: the run saves what it has, and ends.

Schedulers and maintenance send SIGTERM before they kill. A thread of its own
learns of both signals, also while the main one is inside XLA, and of those that
other processes got; all processes then stop at the same `poll`, so none waits
for another in the middle of a step. Whoever meets no poll in time, or gets a
second signal, ends at once: every file is written whole, so nothing breaks.
"""

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from typing import Any

import jax
from jax.experimental import multihost_utils

from sigma_jax import errors

# Seconds without a poll after which the process ends all the same: schedulers
# kill after 30 unless told otherwise, and our launchers ask for 120. The first,
# or twice the longest pause between two polls so far, but not over the second.
PATIENCE = (20.0, 100.0)
# Signals of a kind that follow so soon are one: launchers pass SIGTERM on to
# processes that the scheduler has sent it to as well.
_ONE = {signal.SIGTERM: 2.0, signal.SIGINT: 0.2}  # seconds
_LOOK = 0.5  # seconds between two looks for signals that others got
_EXCHANGE = 10_000  # milliseconds that the processes have to agree
_WORDS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}

_active: "Watch | None" = None
_generation = 0


@contextlib.contextmanager
def watching():
  """Signals are noticed until the end of the block; may be nested.

  Only the main thread of a process gets signals; elsewhere this does nothing.
  """
  global _active
  main = threading.current_thread() is threading.main_thread()
  if _active is not None or not main:
    yield
    return
  _active = Watch()
  try:
    yield
  finally:
    _active.close()
    _active = None


def asked() -> bool:
  """Whether to save and stop here; counts as a poll.

  All processes of a run have to call it, or `poll`, equally often.
  """
  return _active is not None and _active.reached()


def poll(what_is_kept: str) -> None:
  """Ends the run if it was asked to stop.

  Args:
    what_is_kept: half a sentence on what the next start need not do again.

  Raises:
    Preempted, Interrupted: it was asked to.
  """
  if asked():
    raise stop(what_is_kept)


def stop(what_is_kept: str) -> errors.Preempted:
  """The error that ends the run, once `asked` has said so."""
  reason = _active.reason
  kind = errors.Interrupted if reason == signal.SIGINT else errors.Preempted
  return kind(
    f"stopped by {_WORDS[reason]}{what_is_kept}; the same command resumes"
  )


class Watch:
  """Notices signals to any process of the run; see `watching`."""

  def __init__(self):
    global _generation
    _generation += 1
    self._signal = 0  # that this process got, as soon as Python knows
    self._reason = 0  # the signal that counts for all
    self._count = 0  # polls so far
    self._polled, self._gap = time.monotonic(), 0.0  # last one, longest pause
    self._stop_at = math.inf  # the poll
    self._lock = threading.Lock()  # held while processes agree on it
    self._closed = threading.Event()
    self._others = _Others(f"sigma_jax/stop/{_generation}")
    self._read, write = os.pipe()
    os.set_blocking(write, False)
    self._write = write
    self._fd_before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    self._before: dict[int, Any] = {
      number: signal.signal(number, self._note) for number in _WORDS
    }
    self._thread = threading.Thread(target=self._listen, daemon=True)
    self._thread.start()

  def close(self) -> None:
    """Signals do again what they did before."""
    for number, before in self._before.items():
      signal.signal(number, before)
    signal.set_wakeup_fd(self._fd_before)
    self._closed.set()
    os.write(self._write, b"\0")
    self._thread.join()
    with self._lock:
      self._others.publish(self._count)
    os.close(self._read)
    os.close(self._write)

  @property
  def reason(self) -> int:
    """The signal that ends the run; 0 as long as there is none."""
    return self._reason or self._signal

  def reached(self) -> bool:
    """Whether all processes stop at this poll."""
    with self._lock:
      now = time.monotonic()
      self._count += 1
      if self._count > 2 and not self.reason:  # the first step compiles
        self._gap = max(self._gap, now - self._polled)
      self._polled = now
      if not self._others.count:
        stops = bool(self.reason)
      else:
        stops = self._count >= self._stop_at
      if stops:
        self._polled = math.inf  # no hurry: it is saving
      return stops

  def _note(self, number: int, _) -> None:
    self._signal = self._signal or number

  def _listen(self) -> None:
    asked_at, got_at = math.inf, None
    while not self._closed.is_set():
      ready = select.select([self._read], [], [], _LOOK)[0]
      numbers = [n for n in os.read(self._read, 64) if n] if ready else []
      for number in numbers:
        if number not in _WORDS:
          continue
        now = time.monotonic()
        if got_at is not None and now - got_at > _ONE[number]:
          _end(number, "a second signal")
        # Not the one that tells of the others: on a terminal all get it.
        got_at = got_at or now
        if not self._reason:
          asked_at = now
          self._begin(number)
      if not self._reason and self._others.heard():
        asked_at = time.monotonic()
        self._begin(self._others.heard())
      least, most = PATIENCE
      patience = min(max(least, 2 * self._gap), most)
      idle = time.monotonic() - max(asked_at, self._polled)
      if idle > patience:
        _end(self._reason, f"{idle:.0f} s without a place to stop")

  def _begin(self, number: int) -> None:
    self._reason = self._others.tell(number)
    if jax.process_index() == 0:
      print(
        f"{_WORDS[self._reason]}: saving and stopping; "
        "a second one ends this process at once",
        file=sys.stderr,
        flush=True,
      )
    if self._others.count:
      # No poll is passed while the processes tell each other where they are.
      with self._lock:
        self._stop_at = self._others.agree(self._count)


class _Others:
  """The other processes, through the key-value store that they share."""

  def __init__(self, prefix: str):
    self._client = multihost_utils.distributed.global_state.client
    self.count = jax.process_count() if jax.process_count() > 1 else 0
    self._prefix = prefix
    self._published = False

  def heard(self) -> int:
    """The signal that any process got; 0: none."""
    return int(self._get("signal") or 0)

  def tell(self, number: int) -> int:
    """Tells them of a signal; gives the one that counts, the first."""
    if not self.count:
      return number
    with contextlib.suppress(Exception):  # another was faster
      self._client.key_value_set(f"{self._prefix}/signal", str(number))
    return self.heard() or number

  def publish(self, count: int) -> None:
    """Tells them how many polls this process has passed; the first counts."""
    if self.count and not self._published:
      self._published = True
      with contextlib.suppress(Exception):  # the coordinator is gone
        key = f"{self._prefix}/polls/{jax.process_index()}"
        self._client.key_value_set(key, str(count))

  def agree(self, count: int) -> float:
    """The next poll that no process has passed; inf: they do not answer."""
    self.publish(count)
    try:
      found = [
        int(
          self._client.blocking_key_value_get(
            f"{self._prefix}/polls/{process}", _EXCHANGE
          )
        )
        for process in range(self.count)
      ]
    except Exception:  # one of them has died: the run ends by itself
      return math.inf
    return max(found) + 1

  def _get(self, name: str) -> str | None:
    if not self.count:
      return None
    try:
      return self._client.key_value_try_get(f"{self._prefix}/{name}")
    except Exception:  # there is none
      return None


def _end(number: int, why: str) -> None:
  """Ends this process from a thread: the main one is busy."""
  print(
    f"stopped by {_WORDS[number]} ({why}); what was saved before is kept, and "
    "the same command resumes",
    file=sys.stderr,
    flush=True,
  )
  os._exit(128 + number)
