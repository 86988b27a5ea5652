"""Pieces as tasks of a Ray cluster.

All machines see the same files: a task is told where its piece is, writes its
file there, and sends back only what was bad.
"""

import collections
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sigma_jax import errors
from sigma_jax.pieces import pieces

# Times that a piece is begun whose worker or node died each time: a machine
# that is taken away is no fault of the piece's.
_TRIES = 4
_AHEAD = 4096  # pieces that Ray knows of at once
_PATIENCE = 20.0  # seconds that interrupted pieces get to end
_POLL = 1.0  # seconds between two looks at what is asked of this process
# Of a Ray that this process starts: nothing but small answers passes through.
_STORE = 128 << 20  # bytes


def run(
  work: pieces.Work,
  todo: Sequence[pieces.Piece],
  how: pieces.How,
  tally: pieces.Tally,
) -> None:
  """Has pieces done by the cluster.

  A piece whose worker or node dies is begun again, up to four times in all;
  after any other error once more. Pieces that fail end no others.

  Args:
    work: what they are of.
    todo: the pieces.
    how: the cluster's address, and what a piece takes.
    tally: is told of every piece that is done.

  Raises:
    UserError: Ray is not installed, there is no such cluster, or no machine of
      it has what a piece takes; or a piece has raised it.
    RunStopped: pieces have failed, or one has raised it.
  """
  ray = _installed()
  with _connected(ray, how.ray):
    _check(ray, how)
    task = ray.remote(
      num_cpus=how.cpus,
      num_gpus=how.gpus,
      resources={"TPU": how.tpus} if how.tpus else None,
      memory=int(how.memory * 1e9) or None,
      max_retries=0,  # which would not tell one error from another
    )(_do)
    failed = _Tasks(ray, task, work, how, todo).finish(tally)
  there = work.there()
  failed |= {
    piece.name: "its file is not here: does every machine see this folder?"
    for piece in todo
    if piece.name not in there and piece.name not in failed
  }
  if failed:
    (name, reason), *_ = failed.items()
    names = pieces.named(list(failed))
    raise errors.RunStopped(
      f"{len(failed)} of {len(todo)} pieces failed: {names}; {name}: {reason}; "
      "the same command tries them again"
    )


def _do(
  do: Callable[[Sequence[Any], int, pieces.Tally], None],
  job: Any,
  workers: int,
  folder: str,
) -> list:
  """A task: one piece, in the folder that paths are relative to."""
  try:
    os.chdir(folder)
  except OSError as error:
    raise errors.UserError(
      f"a machine of the cluster does not see {folder}: all have to see the "
      "same files"
    ) from error
  # Processes that a piece spawns would otherwise run Ray's own program first.
  vars(sys.modules["__main__"]).pop("__file__", None)
  tally = pieces.Tally()
  do([job], workers, tally)
  return tally.bad


class _Tasks:
  """What is under way, and how often it has failed how."""

  def __init__(self, ray, task, work, how, todo):
    self._ray, self._task, self._work, self._how = ray, task, work, how
    self._todo = collections.deque(todo)
    self._running: dict[Any, pieces.Piece] = {}
    self._errors = collections.defaultdict(list)
    self._deaths = collections.Counter()

  def finish(self, tally: pieces.Tally) -> dict[str, str]:
    """Until nothing is under way; name -> reason of what has failed."""
    try:
      return self._finish(tally)
    except BaseException:
      # Runs save what they have.
      if waited := list(self._running):
        for reference in waited:
          self._ray.cancel(reference)
        self._ray.wait(waited, num_returns=len(waited), timeout=_PATIENCE)
      raise

  def _finish(self, tally: pieces.Tally) -> dict[str, str]:
    failed = {}
    while self._todo or self._running:
      while self._todo and len(self._running) < _AHEAD:
        self._begin(self._todo.popleft())
      self._work.poll()
      done, _ = self._ray.wait(list(self._running), timeout=_POLL)
      for reference in done:
        piece = self._running.pop(reference)
        try:
          bad = self._ray.get(reference)
        except Exception as error:
          if reason := self._judge(piece, error):
            failed[piece.name] = reason
            tally.add(piece.size)
        else:
          tally.add(piece.size, bad)
    return failed

  def _begin(self, piece: pieces.Piece) -> None:
    workers = max(1, int(self._how.cpus))
    reference = self._task.remote(
      self._work.do, piece.job, workers, os.getcwd()
    )
    self._running[reference] = piece

  def _judge(self, piece: pieces.Piece, error: Exception) -> str:
    """Why a piece has failed for good; "": it is begun again.

    Raises:
      UserError, RunStopped: as the piece did: the others would as well.
    """
    cause = getattr(error, "cause", None)
    died = not isinstance(error, self._ray.exceptions.RayTaskError)
    if isinstance(cause, errors.Preempted):  # its machine is taken away
      died = True
    elif isinstance(cause, (errors.UserError, errors.RunStopped)):
      raise cause
    text = f"{type(cause or error).__name__}: {cause or error}"
    text = " ".join(text.split())
    if died:
      self._deaths[piece.name] += 1
      last = self._deaths[piece.name] == _TRIES
    else:
      last = text in self._errors[piece.name]
      self._errors[piece.name].append(text)
    if last:
      return text
    self._todo.append(piece)
    return ""


def _installed():
  """Ray, which is imported here alone."""
  # It would report to its makers that it was used.
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
  try:
    import ray
    import ray.exceptions
  except ImportError as error:
    raise errors.UserError(
      "--ray needs Ray, which is not installed: pip install -r "
      "requirements-cluster.txt, or sigma_jax with the extra cluster"
    ) from error
  return ray


@contextlib.contextmanager
def _connected(ray, address: str) -> Iterator[None]:
  """A connection to the cluster; without an address, a cluster of its own."""
  options = {"address": address}
  if address:
    _check_answers(address)
  else:
    options = {
      "address": "local",
      "num_cpus": len(os.sched_getaffinity(0)),
      "include_dashboard": False,
      "object_store_memory": _STORE,
    }
  # Ray puts a handler of its own in the place of one that saves a run's state.
  before = signal.getsignal(signal.SIGTERM)
  try:
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
  except (ConnectionError, RuntimeError, ValueError) as error:
    raise errors.UserError(
      f"--ray={address}: no cluster answers there: {error}"
    ) from error
  try:
    if threading.current_thread() is threading.main_thread():
      signal.signal(signal.SIGTERM, before)
    yield
  finally:
    ray.shutdown()


def _check_answers(address: str) -> None:
  """Raises UserError for an address where Ray itself would try for minutes."""
  if address == "auto":
    return
  host, _, port = address.rpartition(":")
  if not host or not port.isdecimal() or "/" in host:
    raise errors.UserError(
      f"--ray={address} is not understood; it is host:port or auto, and it is "
      "written with a sign, as in --ray=auto"
    )
  try:
    socket.create_connection((host.strip("[]"), int(port)), 10.0).close()
  except OSError as error:
    raise errors.UserError(
      f"--ray={address}: no cluster answers there: {error}"
    ) from error


def _check(ray, how: pieces.How) -> None:
  """Says what there is; UserError where no machine has what a piece takes."""
  wanted = {"CPU": how.cpus, "GPU": how.gpus, "TPU": how.tpus}
  wanted["memory"] = how.memory * 1e9
  machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
  for has in machines:
    if all(has.get(name, 0) >= amount for name, amount in wanted.items()):
      cores = sum(machine.get("CPU", 0) for machine in machines)
      print(
        f"Ray: {len(machines)} machines, {cores:g} cores",
        file=sys.stderr,
        flush=True,
      )
      return
  raise errors.UserError(
    "no machine of the cluster has what a piece takes: "
    f"--ray-cpus={how.cpus:g} --ray-gpus={how.gpus:g} "
    f"--ray-tpus={how.tpus:g} --ray-memory={how.memory:g}; ask for less, or "
    "add a machine"
  )
