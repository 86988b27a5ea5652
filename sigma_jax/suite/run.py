"""Every protocol whose data is there, one after the other, in one table.

A protocol is a config file. Each has a folder of its own in the workdir, which
gets results.json (all rows), results.md (beside the published figures) and
report.html. The same command goes on where an interrupted one was; what is
finished for the same config, checkpoint and lists of files is not run again.
"""

import argparse
import functools
import importlib.metadata
import pathlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sigma_jax import errors, files, paths
from sigma_jax.evaluate import frozen
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.pieces import pieces
from sigma_jax.suite import plan, protocol, table
from sigma_jax.suite.plan import Run
from sigma_jax.train import preemption
from sigma_jax.train import workdir as workdir_lib

CONFIGS = "configs/eval/*.py"
TABLE, PAGE = "results.md", "report.html"
_STATE = "suite.json"  # in a protocol's folder: what of it is done
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Options of the command."""
  parser.add_argument(
    "--init",
    type=paths.argument,
    required=True,
    help="checkpoint that is judged: workdir, .pth or transformers folder",
  )
  parser.add_argument(
    "--workdir",
    type=paths.argument,
    required=True,
    help="folder for all that is made",
  )
  parser.add_argument(
    "--configs",
    type=paths.argument,
    nargs="+",
    default=[CONFIGS],
    metavar="GLOB",
    help="config files; :ARGUMENT after one goes to it (default %(default)s)",
  )
  parser.add_argument(
    "--set",
    action="append",
    default=[],
    metavar="KEY=VALUE",
    help="an option for all configs, such as train.steps=20; repeatable",
  )
  parser.add_argument(
    "--baseline",
    action="store_true",
    help="judge a random encoder of the same kind beside",
  )
  pieces.add_arguments(parser)


@preemption.watching()
def run(args: argparse.Namespace) -> int:
  """Runs all protocols; writes and prints the tables.

  Returns:
    0, or 1 where a protocol failed.

  Raises:
    UserError: a mistake in the options, or no config's data is there.
    Preempted: SIGTERM or Ctrl-C came; what was trained is saved.
  """
  start = time.monotonic()
  workdir = workdir_lib.path(args.workdir)
  content = judge(
    args.init,
    workdir,
    args.configs,
    changes_of(args.set),
    args.baseline,
    pieces.how(args),
  )
  print(table.text(content["rows"]))
  for one in content["failed"]:
    print(f"failed {one['name']}: {one['reason']}")
  minutes = (time.monotonic() - start) / 60
  print(f"{workdir / PAGE}: {minutes:.1f} minutes in all", flush=True)
  return 1 if content["failed"] else 0


def judge(
  init: str,
  workdir: pathlib.Path,
  configs: Sequence[str],
  changes: Mapping[str, Any],
  baseline: bool,
  how: pieces.How = pieces.HERE,
) -> Row:
  """Runs what of a suite is not done yet; writes its tables.

  Args:
    init: the checkpoint that is judged.
    workdir: made if it is not there.
    configs, changes, baseline: see `plan.plan`.
    how: which protocols this call runs, and where.

  Returns:
    The content of results.json: of all that is there, by whichever call.

  Raises:
    UserError, Preempted: see `run`.
  """
  runs, skipped = plan.plan(configs, init, changes, baseline)
  for one in skipped:
    print(f"skipped {one.name}: {one.reason}", flush=True)
  if not runs:
    raise errors.UserError(
      "no config's data is there: make it, or choose others by --configs"
    )
  _check(workdir, runs)
  workdir.mkdir(parents=True, exist_ok=True)
  step = dense.step_of(init)
  jobs = [
    protocol.Job(one, str(workdir / one.name), f"[{i}/{len(runs)}]", step)
    for i, one in enumerate(runs, 1)
  ]
  head = {"init": init, "step": step, "versions": versions()}
  tail = {"skipped": [one._asdict() for one in skipped]}

  def publish(*_) -> Row:
    content = head | _content(jobs) | tail
    _write(workdir, content)
    return content

  for job in how.of(jobs):
    if (state := protocol.state(job)).get("finished"):
      protocol.say(job, f"done before, {state['seconds']:.0f} s")
  pieces.run(_work(jobs, publish), how)
  return publish()


def _work(jobs: Sequence[protocol.Job], publish: Callable) -> pieces.Work:
  def there() -> set[str]:
    states = {job.run.name: protocol.state(job) for job in jobs}
    return {
      n for n, s in states.items() if s.get("finished") or s.get("failed")
    }

  return pieces.Work(
    "protocols",
    [pieces.Piece(job.run.name, job) for job in jobs],
    protocol.do,
    there,
    after=publish,  # so that an interruption leaves what there is
    # What has failed is tried again.
    left=lambda piece: int(not protocol.state(piece.job)["finished"]),
    poll=functools.partial(preemption.poll, " while others work"),
    lines=False,
  )


def _content(jobs: Sequence[protocol.Job]) -> Row:
  """Rows of what is finished, what has failed, and what they were run on."""
  devices, rows, failed = {}, [], []
  for job in jobs:
    state = protocol.state(job)
    if state.get("finished"):
      found = protocol.read(pathlib.Path(job.folder) / frozen.RESULTS)
      table.add(rows, job.run, found["rows"], state["seconds"])
      devices[state.get("device") or protocol.device()] = None
    elif reason := state.get("failed"):
      failed.append({"name": job.run.name, "reason": reason})
  where = " and ".join(devices) or protocol.device()
  return {"device": where, "rows": rows, "failed": failed}


def _check(workdir: pathlib.Path, runs: Sequence[Run]) -> None:
  """Refuses to resume a training that was begun from something else."""
  for one in runs:
    folder = workdir / one.name
    other = protocol.read(folder / protocol.STATE).get("key") != one.key
    if workdir_lib.checkpoints(folder).exists() and other:
      raise errors.UserError(
        f"{folder} holds a training of another checkpoint, config or list of "
        "files: choose another --workdir, or remove it"
      )


def changes_of(given: Sequence[str]) -> dict[str, str]:
  """KEY=VALUE texts by key; UserError where one is none."""
  found = {}
  for text in given:
    key, equals, value = text.partition("=")
    if not equals or not key:
      raise errors.UserError(
        f"--set {text!r} is not understood; it is KEY=VALUE, such as "
        "train.steps=20"
      )
    found[key] = value
  return found


def _write(workdir: pathlib.Path, content: Row) -> None:
  """All tables and the page, each whole or not at all."""
  from sigma_jax.suite import page as protocols

  frozen.write(workdir, content)
  files.write_whole(workdir / TABLE, table.markdown(content))
  page = protocols.build(content, workdir)
  files.write_whole(workdir / PAGE, page)


def versions() -> dict[str, str]:
  """Of Python and of what computes."""
  names = ("jax", "jaxlib", "flax", "optax", "numpy")
  found = {name: importlib.metadata.version(name) for name in names}
  return {"python": platform.python_version(), **found}
