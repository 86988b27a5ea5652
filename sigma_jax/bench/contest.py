"""Runs contenders beside each other: one process each, taking turns.

Turns are what makes a ratio worth something on a machine whose speed changes
from minute to minute. A contender is a module of this package, or of another
by its full name, with

    prepare(options: dict) -> Case

in a process of its own, so that memory is its own too.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from sigma_jax import errors


class Case(Protocol):
  """What a contender measures."""

  def run(self) -> float | None:
    """Does the work once, to its end; seconds, if not all of them count."""

  def results(self) -> dict[str, np.ndarray]:
    """What the last run computed, for comparison."""

  def peak_bytes(self) -> int | None:
    """Peak of the accelerator's memory since the start; None on a CPU."""

  def facts(self) -> dict[str, Any]:
    """What else to report: versions, device."""


class Outcome(NamedTuple):
  """seconds: of every turn. extra_bytes: peak memory of a run beyond what was
  held before it. results, facts: see `Case`."""

  seconds: list[float]
  extra_bytes: int
  results: dict[str, np.ndarray]
  facts: dict[str, Any]

  @property
  def median(self) -> float:
    return statistics.median(self.seconds)


def hold(
  contenders: dict[str, tuple[str, dict]],
  turns: int,
  folder: str,
  failed: dict[str, str] | None = None,
) -> dict[str, Outcome]:
  """Lets the contenders run in turns.

  Args:
    contenders: name -> (module, its options).
    turns: timed runs of each.
    folder: where they leave their results.
    failed: gets the reasons of those that failed, which then have no outcome.

  Raises:
    UserError: a contender failed, and there is no `failed`; its last line.
  """
  workers: dict[str, _Worker] = {}

  def ask(name: str, call: Callable[[], Any]) -> Any:
    try:
      return call()
    except errors.UserError as error:
      if failed is None:
        raise
      failed[name] = str(error)
      workers.pop(name).close()
      return None

  try:
    for place, (name, (module, options)) in enumerate(contenders.items()):
      out = pathlib.Path(folder) / f"{place}.npz"
      workers[name] = _Worker(name, module, options, out)
      # One after the other: compiling would disturb the memory of none, but
      # take turns with all.
      ask(name, workers[name].read)
    seconds = {name: [] for name in workers}
    for _ in range(turns):
      for name, worker in list(workers.items()):
        answer = ask(name, functools.partial(worker.ask, "run"))
        if answer:
          seconds[name].append(answer["seconds"])
    found = {
      name: ask(name, functools.partial(worker.finish, seconds[name]))
      for name, worker in list(workers.items())
    }
    return {name: outcome for name, outcome in found.items() if outcome}
  finally:
    for worker in workers.values():
      worker.close()


def need(
  outcomes: dict[str, Outcome], names: tuple[str, ...], failed: dict[str, str]
) -> None:
  """Raises UserError unless all of `names`, and one at all, has an outcome."""
  if not outcomes or any(name not in outcomes for name in names):
    raise errors.UserError("; ".join(failed.values()))


class _Worker:
  """The parent's end of one contender."""

  def __init__(self, name: str, module: str, options: dict, out: pathlib.Path):
    self._name, self._out = name, out
    command = [sys.executable, "-m", "sigma_jax.bench.contest"]
    with out.with_suffix(".log").open("w") as log:
      self._process = subprocess.Popen(
        [*command, module, json.dumps(options), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
      )

  def read(self) -> dict[str, Any]:
    """The next answer."""
    line = self._process.stdout.readline()
    if not line:
      log = self._out.with_suffix(".log").read_text().strip().splitlines()
      reason = log[-1] if log else "it ended without a word"
      raise errors.UserError(f"{self._name} failed: {reason}")
    return json.loads(line)

  def ask(self, command: str) -> dict[str, Any]:
    """Sends a command, waits for the answer."""
    with contextlib.suppress(BrokenPipeError):  # it is gone: `read` says why
      self._process.stdin.write(command + "\n")
      self._process.stdin.flush()
    return self.read()

  def finish(self, seconds: list[float]) -> Outcome:
    """Collects what the contender has computed."""
    last = self.ask("finish")
    with np.load(self._out) as arrays:
      results = dict(arrays)
    return Outcome(seconds, last["extra_bytes"], results, last["facts"])

  def close(self) -> None:
    """Ends the process."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.stdout.close()
    self._process.kill()
    self._process.wait()


def _work(module: str, options: str, out: str) -> None:
  """The contender's own process: answers commands, a JSON line each."""
  answers = os.dup(1)
  os.dup2(2, 1)  # what libraries print is not an answer

  def say(**values):
    os.write(answers, (json.dumps(values) + "\n").encode())

  name = module if "." in module else f"sigma_jax.bench.{module}"
  case = importlib.import_module(name).prepare(json.loads(options))
  before = _resident_now()
  case.run()
  extra = _resident_peak() - before
  say(ready=True)
  for command in sys.stdin:
    if command.strip() == "run":
      start = time.perf_counter()
      seconds = case.run()
      took = time.perf_counter() - start
      say(seconds=took if seconds is None else seconds)
    else:
      on_device = case.peak_bytes()
      np.savez(out, **case.results())
      say(
        extra_bytes=extra if on_device is None else on_device,
        facts=case.facts(),
      )


def _resident_now() -> int:
  """Resident bytes, freed memory given back; restarts the peak's record."""
  gc.collect()
  try:
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    pass  # not Linux: the peak is then that of the process's life
  return _status("VmRSS")


def _resident_peak() -> int:
  return _status("VmHWM")


def _status(name: str) -> int:
  """Bytes of one line of /proc/self/status; 0 where there is none."""
  try:
    text = pathlib.Path("/proc/self/status").read_text()
  except OSError:
    return 0
  return next(
    1024 * int(line.split()[1])
    for line in text.splitlines()
    if line.startswith(name + ":")
  )


if __name__ == "__main__":
  _work(*sys.argv[1:])
