"""Joins the processes of one run, through JAX's own runtime.

`--distributed=auto` asks the cluster who takes part (Cloud TPU, SLURM,
Kubernetes, Open MPI: what `jax.distributed.initialize` detects);
`--distributed=HOST:PORT,N,I` says it: process I of N, of which process 0
listens at HOST:PORT; `--distributed=none` runs alone. Without the flag a
process runs alone too, but refuses to where its environment says that it is one
of many: N runs that write to one folder are worse than none.
"""

import hashlib
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from sigma_jax import errors, files

# A host that takes longer than this to appear, or falls silent for so long, is
# taken for lost, seconds.
TIMEOUT = 60

Found = TypeVar("Found")

# Variables that launchers set in every process: how many there are, and which.
_LAUNCHERS = {
  "SLURM": ("SLURM_NTASKS", "SLURM_PROCID"),
  "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}


def start(how: str | None, environ: Mapping[str, str] = os.environ) -> None:
  """Connects this process to the others; before anything else asks JAX.

  Args:
    how: the flag's value, or None where it was not given.
    environ: of this process.

  Raises:
    UserError: the flag cannot be understood or the cluster cannot be found.
    RunStopped: the other processes do not appear within a minute; in a cluster
      whose hosts start minutes apart, starting this one again is the remedy.
  """
  if how in (None, "none"):
    if how is None:
      _refuse_if_one_of_many(environ)
    return
  import jax

  where = {}
  if how != "auto":
    address, count, index = _parse(how)
    where = {
      "coordinator_address": address,
      "num_processes": count,
      "process_id": index,
    }
  # Left to itself JAX aborts the process, with a stack of C++ frames.
  watchdog = threading.Timer(TIMEOUT, _give_up, [how])
  watchdog.daemon = True
  watchdog.start()
  # It would take SIGTERM for itself; train.preemption is in its place.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      **where,
      initialization_timeout=2 * TIMEOUT,
      heartbeat_timeout_seconds=TIMEOUT,
      shutdown_timeout_seconds=TIMEOUT,
    )
  except Exception as error:
    kind = errors.RunStopped if _found(error) else errors.UserError
    raise kind(_explain(how, error)) from error
  finally:
    watchdog.cancel()
  _check_count(environ)


def check_agreement(fingerprint: str, workdir) -> None:
  """Makes sure that all processes run the same config in the same folder.

  Args:
    fingerprint: of the settings.
    workdir: the run's folder, there on every process.

  Raises:
    UserError: on every process, naming those that differ.
  """
  import jax

  if jax.process_count() == 1:
    return
  from jax.experimental import multihost_utils

  _all_equal(
    _gather(fingerprint),
    "run another config than process 0: start all processes with the same "
    "command",
  )
  token = workdir / ".processes"
  if jax.process_index() == 0:
    files.write_whole(token, secrets.token_hex(8))
  multihost_utils.sync_global_devices("sigma_jax workdir token")
  found = token.read_text() if token.exists() else "missing"
  seen = _gather(found)
  if jax.process_index() == 0:
    token.unlink(missing_ok=True)
  _all_equal(
    seen,
    f"do not see process 0's folder {str(workdir)!r}: --workdir has to be on "
    "storage that all hosts share",
  )


def agreed(
  load: Callable[[], Found], contents: Callable[[Found], dict[str, str]]
) -> Found:
  """Reads something on every process, and makes sure that all read the same.

  Paths that are equal say little: hosts may have disks, and copies, of their
  own. Row numbers would mean other files on each of them.

  Args:
    load: reads; what it raises ends all processes, and not the one alone.
    contents: what was read -> name of each part and a hash of it.

  Returns:
    What `load` gave.

  Raises:
    UserError: on every process, naming those that read something else or could
      not read.
  """
  import jax

  if jax.process_count() == 1:
    return load()
  found, failure, hashes = None, None, {}
  try:
    found = load()
    hashes = contents(found)
  except Exception as error:  # the others wait for this process
    failure = error
  ends = _gather("failed" if failure else "read")
  if failure:
    raise failure
  failed = [i for i, end in enumerate(ends) if end != ends[jax.process_index()]]
  if failed:
    raise errors.UserError(
      f"processes {_numbers(failed)} cannot read their lists; they say why"
    )
  for name, value in hashes.items():
    _all_equal(
      _gather(value),
      f"have another {name} than process 0: it has to hold the same on all "
      "hosts",
    )
  return found


def _gather(text: str) -> list[bytes]:
  """A hash of every process's text."""
  import numpy as np
  from jax.experimental import multihost_utils

  digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
  rows = multihost_utils.process_allgather(digest)
  return [row.tobytes() for row in np.asarray(rows)]


def _all_equal(values: list[bytes], problem: str) -> None:
  differing = [i for i, value in enumerate(values) if value != values[0]]
  if differing:
    raise errors.UserError(f"processes {_numbers(differing)} {problem}")


def _numbers(processes: list[int]) -> str:
  more = f" and {len(processes) - 8} more" if len(processes) > 8 else ""
  return ", ".join(map(str, processes[:8])) + more


def _parse(how: str) -> tuple[str, int, int]:
  """HOST:PORT,N,I taken apart and checked."""
  match = re.fullmatch(r"(.+:\d+),(\d+),(\d+)", how)
  if match is None:
    raise errors.UserError(
      f"--distributed={how!r} is not understood; it is auto, none or "
      "HOST:PORT,N,I: process I, from 0, of N, process 0 listening there"
    )
  address, count, index = match[1], int(match[2]), int(match[3])
  if not index < count:
    raise errors.UserError(
      f"--distributed={how!r}: process {index} of {count} does not exist; "
      f"they are numbered 0 to {count - 1}"
    )
  return address, count, index


def _refuse_if_one_of_many(environ: Mapping[str, str]) -> None:
  """Raises UserError where a launcher has started several processes."""
  for launcher, (count, index) in _LAUNCHERS.items():
    if index in environ and _number(environ.get(count)) > 1:
      raise errors.UserError(
        f"this is one of {environ[count]} processes that {launcher} started: "
        "pass --distributed=auto to make them one run, or --distributed=none "
        "if each is meant to run alone"
      )
  hosts = environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
  if len(hosts) > 1:
    raise errors.UserError(
      f"this is one of {len(hosts)} hosts of a TPU slice: start the same "
      "command on all of them with --distributed=auto"
    )
  if "JOB_COMPLETION_INDEX" in environ:
    raise errors.UserError(
      "this is a pod of an indexed Kubernetes job: pass --distributed=auto or "
      "HOST:PORT,N,I, or --distributed=none if it is meant to run alone"
    )


def _check_count(environ: Mapping[str, str]) -> None:
  """Raises UserError where fewer processes joined than were started."""
  import jax

  for launcher, (count, _) in _LAUNCHERS.items():
    started = _number(environ.get(count))
    if started > 1 and started != jax.process_count():
      raise errors.UserError(
        f"{launcher} started {started} processes but {jax.process_count()} "
        "joined; run one process a task, and the same --distributed in all"
      )


def _give_up(how: str) -> None:
  """Ends this process, from a thread: the main one is held up inside JAX."""
  print(f"error: {_explain(how, None)}", file=sys.stderr, flush=True)
  os._exit(1)


def _explain(how: str, error: Exception | None) -> str:
  text = " ".join(str(error or "").split())
  if not _found(error):
    return (
      "--distributed=auto: no cluster found (Cloud TPU, SLURM, Kubernetes, "
      "Open MPI); say who takes part by --distributed=HOST:PORT,N,I"
    )
  return (
    f"--distributed={how}: the processes did not find each other within "
    f"{TIMEOUT} s: is every one of them running, with the same address and "
    "number and its own index, and is the port open between the hosts?"
    + (f" ({text[:300]})" if text else "")
  )


def _found(error: Exception | None) -> bool:
  """Whether JAX knew who takes part, and failed later."""
  text = str(error or "")
  return "should be defined" not in text and "must be defined" not in text


def _number(text: str | None) -> int:
  return int(text) if text and text.isdigit() else 0
