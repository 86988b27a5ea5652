"""Makes the runs of a grid one after the other; each can be resumed.

A run's folder holds pretrain/, the workdir of its pre-training; judged/, that
of its suite of protocols; log.txt, what both have printed; and run.json, what
it has come to: a run that is done is not opened again.
"""

import argparse
import contextlib
import json
import pathlib
import re
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from sigma_jax import errors, files, tasks
from sigma_jax.ablate import grid as grid_lib
from sigma_jax.ablate import page, progress, table
from sigma_jax.evaluate import frozen
from sigma_jax.suite import run as suite
from sigma_jax.train import lock, preemption
from sigma_jax.train import workdir as workdir_lib

TABLE, PAGE, PRETRAINED = "results.md", "report.html", "pretrain"
_STATE = "run.json"
_TRIES = 240  # of a quarter of a second, while another process writes tables


class State(NamedTuple):
  """What a run has come to.

  rows: as of a suite's results.json, once it is judged. failed: why it has
  none. seconds: spent on it, by all calls that ended in an orderly way.
  """

  rows: tuple[dict[str, Any], ...] = ()
  failed: str = ""
  seconds: float = 0.0


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
  mine = _part(grid.runs, args.only)
  told = progress.Progress(len(mine))
  print(
    f"{grid.title}: {len(grid.rows)} rows, {len(grid.seeds)} seeds, "
    f"{len(grid.runs)} runs, of which {len(mine)} here",
    flush=True,
  )
  states = {}
  for one in mine:
    preemption.poll(f" before {one.name}")
    states[one.name] = _finish(grid, one, workdir / one.name, told)
    _publish(grid, workdir, wait=False)
  content = _publish(grid, workdir, wait=True)
  print(table.text(content))
  failed = {name: s.failed for name, s in states.items() if s.failed}
  for name, reason in failed.items():
    print(f"failed {name}: {reason}")
  print(f"{workdir / PAGE}: {told.spent()} in all", flush=True)
  return 1 if failed else 0


def _part(runs: list[grid_lib.Run], only: str) -> list[grid_lib.Run]:
  """The runs of this process."""
  if not only:
    return runs
  match = re.fullmatch(r"(\d+)/(\d+)", only)
  if not match or not int(match[1]) < int(match[2]):
    raise errors.UserError(
      f"--only {only!r} is not understood; it is I/N, part I of N from 0 on, "
      "such as 0/4 to 3/4"
    )
  first, step = int(match[1]), int(match[2])
  if first >= len(runs):
    raise errors.UserError(
      f"--only {only}: there are only {len(runs)} runs, so that part is empty"
    )
  return runs[first::step]


def _finish(
  grid: grid_lib.Grid,
  one: grid_lib.Run,
  folder: pathlib.Path,
  told: progress.Progress,
) -> State:
  """Makes a run, or what is left of it; notes how it ended."""
  before = read(folder, one.key)
  if before.rows:
    told.skip(one.name)
    return before
  start, kept = time.monotonic(), before._replace(failed="")
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(lock.hold(folder))
    except errors.UserError as error:
      told.end(f"left to another process: {error}")
      return before
    found = kept
    told.begin(one.name)
    try:
      with _logged(folder, told.line):
        found = kept._replace(rows=tuple(_make(grid, one, folder)))
    except errors.Preempted:
      raise
    except (ValueError, OSError, RuntimeError) as error:
      found = kept._replace(failed=" ".join(str(error).split()))
      files.write_whole(folder / "traceback.txt", traceback.format_exc())
    finally:
      seconds = kept.seconds + time.monotonic() - start
      found = found._replace(seconds=seconds)
      content = {"key": one.key, **found._asdict()}
      files.write_whole(folder / _STATE, json.dumps(content, indent=1) + "\n")
    told.end(f"failed: {found.failed}" if found.failed else "done")
  return found


def _make(
  grid: grid_lib.Grid, one: grid_lib.Run, folder: pathlib.Path
) -> list[dict[str, Any]]:
  """Pre-trains and judges; rows of the suite.

  Raises:
    RunStopped: a protocol failed.
  """
  pretrained = folder / PRETRAINED
  tasks.run(one.config, pretrained)
  judge_set = grid.judge_set | {"seed": one.seed}
  content = suite.judge(
    str(pretrained), folder / "judged", grid.judge, judge_set, one.baseline
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
      content |= {"versions": suite.versions(), "device": suite.device()}
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
