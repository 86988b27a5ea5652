"""Makes the runs of a grid one after the other; each can be resumed.

A run's folder holds pretrain/, the workdir of its pre-training; judged/, that
of its suite of protocols; log.txt, what both have printed; and run.json, what
it has come to: a run that is done is not opened again.
"""

import argparse
import contextlib
import functools
import json
import pathlib
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sigma_jax import errors, files, tasks
from sigma_jax.ablate import grid as grid_lib
from sigma_jax.ablate import page, progress, table
from sigma_jax.evaluate import frozen
from sigma_jax.pieces import pieces
from sigma_jax.suite import protocol
from sigma_jax.suite import run as suite
from sigma_jax.train import lock, preemption
from sigma_jax.train import workdir as workdir_lib

TABLE, PAGE, PRETRAINED = "results.md", "report.html", "pretrain"
_STATE = "run.json"
_TRIES = 240  # of a quarter of a second, while another process writes tables


class State(NamedTuple):
  """What a run has come to.

  rows: as of a suite's results.json, once it is judged. failed: why it has
  none. seconds: spent on it, by all calls that ended in an orderly way. device:
  what it was made on.
  """

  rows: tuple[dict[str, Any], ...] = ()
  failed: str = ""
  seconds: float = 0.0
  device: str = ""


@preemption.watching()
def run(args: argparse.Namespace) -> int:
  """Makes what is not done yet; writes and prints the tables.

  Returns:
    0, or 1 where a run failed.

  Raises:
    UserError: a mistake in the grid or in the options.
    Preempted: SIGTERM or Ctrl-C came; what was trained is saved.
  """
  changes, judge_changes = map(suite.changes_of, (args.set, args.judge_set))
  grid = grid_lib.load(args.grid, changes, judge_changes)
  workdir = workdir_lib.path(args.workdir)
  how = pieces.how(args)
  mine = how.of(grid.runs)
  if how.only and not mine:
    raise errors.UserError(
      f"--only {how.only}: there are only {len(grid.runs)} runs, so that part "
      "is empty"
    )
  print(
    f"{grid.title}: {len(grid.rows)} rows, {len(grid.seeds)} seeds, "
    f"{len(grid.runs)} runs, of which {len(mine)} here",
    flush=True,
  )
  start = time.monotonic()
  pieces.run(_work(grid, workdir, how), how)
  content = _publish(grid, workdir, wait=True)
  print(table.text(content))
  states = {one.name: read(workdir / one.name, one.key) for one in mine}
  failed = {name: s.failed for name, s in states.items() if s.failed}
  for name, reason in failed.items():
    print(f"failed {name}: {reason}")
  minutes = (time.monotonic() - start) / 60
  print(f"{workdir / PAGE}: {minutes:.1f} min in all", flush=True)
  return 1 if failed else 0


class _Job(NamedTuple):
  """A run to be made in its folder; judge, judge_set: as of the grid."""

  run: grid_lib.Run
  folder: str
  judge: tuple[str, ...]
  judge_set: dict[str, Any]


def _work(
  grid: grid_lib.Grid, workdir: pathlib.Path, how: pieces.How
) -> pieces.Work:
  def there() -> set[str]:
    found = {one.name: read(workdir / one.name, one.key) for one in grid.runs}
    return {name for name, state in found.items() if state.rows or state.failed}

  def left(piece: pieces.Piece) -> int:
    # What failed is tried again; here `do` says of the others that they are
    # done.
    one = piece.job.run
    return int(how.ray is None or not read(workdir / one.name, one.key).rows)

  jobs = [
    _Job(one, str(workdir / one.name), grid.judge, grid.judge_set)
    for one in grid.runs
  ]
  return pieces.Work(
    "runs",
    [pieces.Piece(job.run.name, job) for job in jobs],
    do,
    there,
    after=lambda _: _publish(grid, workdir, wait=False),
    left=left,
    poll=functools.partial(preemption.poll, " while others work"),
    lines=False,
  )


@preemption.watching()
def do(jobs: Sequence[_Job], workers: int, tally: pieces.Tally) -> None:
  """Makes runs; each notes in its folder what it has come to.

  Args:
    jobs: of `run`.
    workers: not asked for: JAX takes what it is given.
    tally: is told of each.
  """
  del workers
  told = progress.Progress(len(jobs))
  for job in jobs:
    preemption.poll(f" before {job.run.name}")
    _finish(job, told)
    tally.add()


def _finish(job: _Job, told: progress.Progress) -> None:
  """Makes a run, or what is left of it; notes how it ended."""
  one, folder = job.run, pathlib.Path(job.folder)
  before = read(folder, one.key)
  if before.rows:
    told.skip(one.name)
    return
  start, kept = time.monotonic(), before._replace(failed="")
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(lock.hold(folder))
    except errors.UserError as error:
      told.end(f"left to another process: {error}")
      return
    found = kept
    told.begin(one.name)
    try:
      with _logged(folder, told.line):
        found = kept._replace(rows=tuple(_make(job)))
    except errors.Preempted:
      raise
    except (ValueError, OSError, RuntimeError) as error:
      found = kept._replace(failed=" ".join(str(error).split()))
      files.write_whole(folder / "traceback.txt", traceback.format_exc())
    finally:
      seconds = kept.seconds + time.monotonic() - start
      found = found._replace(seconds=seconds, device=protocol.device())
      content = {"key": one.key, **found._asdict()}
      files.write_whole(folder / _STATE, json.dumps(content, indent=1) + "\n")
    told.end(f"failed: {found.failed}" if found.failed else "done")


def _make(job: _Job) -> list[dict[str, Any]]:
  """Pre-trains and judges; rows of the suite.

  Raises:
    RunStopped: a protocol failed.
  """
  one, folder = job.run, pathlib.Path(job.folder)
  pretrained = folder / PRETRAINED
  tasks.run(one.config, pretrained)
  judge_set = job.judge_set | {"seed": one.seed}
  content = suite.judge(
    str(pretrained), folder / "judged", job.judge, judge_set, one.baseline
  )
  for failed in content["failed"]:
    raise errors.RunStopped(f"{failed['name']}: {failed['reason']}")
  return content["rows"]


class _Log:
  """A text file that tells of every line written to it."""

  def __init__(self, file, tell: Callable[[str], None]):
    self._file, self._tell, self._line = file, tell, ""

  def write(self, text: str) -> int:
    self._file.write(text)
    *lines, self._line = (self._line + text).split("\n")
    for line in lines:
      self._tell(line)
    return len(text)

  def flush(self) -> None:
    self._file.flush()


@contextlib.contextmanager
def _logged(folder: pathlib.Path, tell: Callable[[str], None]):
  """What is printed goes to log.txt, behind what is there."""
  with (folder / "log.txt").open("a") as file:
    log = _Log(file, tell)
    with contextlib.redirect_stdout(log):
      yield


def read(folder: pathlib.Path, key: str) -> State:
  """What a run has come to; nothing, where its file is of another key."""
  try:
    found = json.loads((folder / _STATE).read_text())
    if found.pop("key") == key:
      return State(**found | {"rows": tuple(found["rows"])})
  except (OSError, ValueError, TypeError, KeyError, AttributeError):
    pass  # not there, or damaged
  return State()


def _publish(
  grid: grid_lib.Grid, workdir: pathlib.Path, wait: bool
) -> dict[str, Any]:
  """All tables and the page, each whole or not at all, of what is there now.

  Args:
    grid, workdir: of the ablation.
    wait: for another process that writes them at the moment; else it is left to
      that one.
  """
  for _ in range(_TRIES if wait else 1):
    with contextlib.ExitStack() as stack:
      try:
        stack.enter_context(lock.hold(workdir))
      except errors.UserError:
        time.sleep(0.25 if wait else 0)
        continue
      states = {
        one.name: read(workdir / one.name, one.key) for one in grid.runs
      }
      content = table.content(grid, states)
      devices = dict.fromkeys(s.device for s in states.values() if s.device)
      where = " and ".join(devices) or protocol.device()
      content |= {"versions": suite.versions(), "device": where}
      frozen.write(workdir, content)
      files.write_whole(workdir / TABLE, table.markdown(content))
      files.write_whole(workdir / PAGE, page.build(grid, content, workdir))
      return content
  if wait:
    raise errors.RunStopped(
      f"another process has been writing the tables of {workdir} for a minute; "
      "the same command writes them once it has ended"
    )
  return {}
