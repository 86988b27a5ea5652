"""SIGTERM, as schedulers and maintenance send it before they kill.

One process notices by a signal handler of its own. Several have to stop after
the same step: JAX's coordination service, which catches the signal itself,
tells all of them which one.
"""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils


class Watch:
  """Tells the loop when to save and stop."""

  def __init__(self):
    self._asked = False
    self._before: Any = None
    main = threading.current_thread() is threading.main_thread()
    if jax.process_count() == 1 and main:
      self._before = signal.signal(signal.SIGTERM, self._ask)

  def close(self) -> None:
    """SIGTERM does again what it did before."""
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)
      self._before = None

  def reached(self, step: int) -> bool:
    """Whether the run ends after this step; asked once after every step."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked

  def _ask(self, *_) -> None:
    self._asked = True
    # A second one ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
