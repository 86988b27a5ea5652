"""How far a whole ablation is, in one line."""

import re
import sys
import time

_EVERY = 10.0  # seconds between lines inside a run


class Progress:
  """Prints `[3/24] ROW/seed0: step 50/300, 9% of all, about 41 min left`."""

  def __init__(self, count: int):
    """count: of the runs."""
    self._out = sys.stdout  # whatever a run's own lines go to later
    self._count, self._done, self._made = count, 0, 0
    self._start = time.monotonic()
    self._name, self._share = "", 0.0
    self._began = self._shown = self._start

  def skip(self, name: str) -> None:
    """A run was done by an earlier call."""
    self._done += 1
    self._name = name
    self._print("done before")

  def begin(self, name: str) -> None:
    """A run begins."""
    self._name, self._share = name, 0.0
    self._began = self._shown = time.monotonic()
    self._print("begins")

  def line(self, text: str) -> None:
    """The run has printed a line, perhaps of its progress."""
    match = re.match(r"step (\d+)/(\d+) ", text)
    if not match:
      return
    self._share = int(match[1]) / int(match[2])
    if time.monotonic() - self._shown >= _EVERY:
      self._shown = time.monotonic()
      self._print(f"step {match[1]}/{match[2]}")

  def end(self, how: str) -> None:
    """The run is over; how: a word."""
    self._done, self._share = self._done + 1, 0.0
    self._made += 1
    self._began = time.monotonic()
    self._print(how)

  def _print(self, what: str) -> None:
    share = (self._done + self._share) / self._count
    place = min(self._done + (what == "begins" or self._share > 0), self._count)
    line = f"[{place}/{self._count}] {self._name}: {what}, {share:.0%} of all"
    print(line + self._left(), file=self._out, flush=True)

  def _left(self) -> str:
    """A guess by what the runs of this call have taken."""
    made = self._made + self._share
    runs = self._count - self._done - self._share
    if not made or not runs:
      return ""
    seconds = (time.monotonic() - self._start) / made * runs
    return f", about {seconds / 60:.0f} min left"
