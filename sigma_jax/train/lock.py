"""One run at a time in a workdir.

On a disk the operating system keeps the lock: it ends with the process that
holds it, however that ends, so a killed run blocks nothing. A bucket has no
locks: there a run rewrites a small object every few seconds, and a second start
watches for a while whether somebody does.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import jax
import numpy as np

from sigma_jax import errors, files
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import workdir as workdir_lib

NAME = "running.json"
# A bucket's holder writes every so many seconds; a second start looks for three
# times as long, and not at all at an object that is older than the last value.
_BEAT = 15.0
_STALE = 600.0
_TRIES = 5  # to read who holds it
# What file systems answer that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def hold(
  workdir: str | os.PathLike, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
  """Keeps other runs out of the workdir while the body runs.

  Of several processes the first holds the lock, and all of them are refused.

  Args:
    workdir: made if it is not there.
    say: told where the lock cannot be had or takes a while.

  Raises:
    UserError: a run is going on there; the message names its process.
  """
  folder = workdir_lib.path(workdir)
  folder.mkdir(parents=True, exist_ok=True)
  keep = _bucket if files.is_remote(folder) else _disk
  with contextlib.ExitStack() as stack:
    refused = None
    if jax.process_index() == 0:
      try:
        stack.enter_context(keep(folder, say))
      except errors.UserError as error:
        refused = error
    if np.any(mesh_lib.gather(np.array([refused is not None]))):
      raise refused or errors.UserError(
        f"a run is going on in {folder}, as process 0 says"
      )
    yield


def _me() -> dict:
  return {
    "host": socket.gethostname(),
    "pid": os.getpid(),
    "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
  }


def _refuse(folder, holder: dict) -> errors.UserError:
  who = ""
  if holder:
    who = (
      f" (process {holder.get('pid', '?')} on {holder.get('host', '?')}, since "
      f"{holder.get('since', '?')})"
    )
  return errors.UserError(
    f"a run is going on in {folder}{who}: wait for it, stop it, or choose "
    "another --workdir"
  )


@contextlib.contextmanager
def _disk(folder, say) -> Iterator[None]:
  file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
  try:
    if not _locked(file, folder):
      say(
        f"warning: the file system of {folder} has no locks: nothing keeps a "
        "second run out of it"
      )
    # The file stays there, empty, after the run: were it removed, a third run
    # could lock a new one while a second holds the old.
    os.ftruncate(file, 0)
    # Where the disk is full, nobody learns who holds it.
    with contextlib.suppress(OSError):
      os.pwrite(file, json.dumps(_me()).encode(), 0)
    try:
      yield
    finally:
      with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
  finally:
    os.close(file)


def _locked(file: int, folder) -> bool:
  """Takes the lock; False where the file system has none.

  Raises:
    UserError: another process holds it.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
      raise _refuse(folder, _parsed(os.pread(file, 4096, 0))) from None
    if error.errno not in _NO_LOCKS:
      raise
    return False
  return True


@contextlib.contextmanager
def _bucket(folder, say) -> Iterator[None]:
  file = folder / NAME
  found = _read(file)
  if found and time.time() - found.get("beat", 0) < _STALE:
    say(
      f"{folder} was in use a short while ago: looking for "
      f"{3 * _BEAT:.0f} s whether it still is"
    )
    end = time.monotonic() + 3 * _BEAT
    while time.monotonic() < end:
      time.sleep(_BEAT / 5)
      now = _read(file)
      if not now:  # it has ended meanwhile
        break
      if now != found:
        raise _refuse(folder, now)
  me = {**_me(), "run": uuid.uuid4().hex}
  _write(file, me)
  # Of two that start together, the one that wrote last goes on. No answer is
  # none: it is asked again.
  now = {}
  for _ in range(_TRIES):
    time.sleep(_BEAT / 5)
    if now := _read(file):
      break
  if now.get("run", me["run"]) != me["run"]:
    raise _refuse(folder, now)
  ended = threading.Event()

  def beat():
    while not ended.wait(_BEAT):
      # One that fails is made up for by the next.
      with contextlib.suppress(Exception):
        _write(file, me)

  thread = threading.Thread(target=beat, name="workdir lock", daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    with contextlib.suppress(Exception):
      file.unlink()


def _write(file, me: dict) -> None:
  files.write_whole(file, json.dumps({**me, "beat": time.time()}))


def _read(file) -> dict:
  try:
    return _parsed(file.read_bytes())
  except Exception:  # not there, in one of the file systems' ways
    return {}


def _parsed(content: bytes) -> dict:
  try:
    found = json.loads(content)
  except ValueError:  # empty, or half-written
    return {}
  return found if isinstance(found, dict) else {}
