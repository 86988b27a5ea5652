"""Every protocol whose data is there, one after the other, in one table.

A protocol is a config file. Each has a folder of its own in the workdir, which
gets results.json (all rows), results.md (beside the published figures) and
report.html. The same command goes on where an interrupted one was; what is
finished for the same config, checkpoint and lists of files is not run again.
"""

import argparse
import functools
import importlib.metadata
import json
import pathlib
import platform
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from sigma_jax import errors, files, paths
from sigma_jax.evaluate import frozen
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.suite import plan, table
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
    args.init, workdir, args.configs, changes_of(args.set), args.baseline
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
) -> Row:
  """Runs what of a suite is not done yet; writes its tables.

  Args:
    init: the checkpoint that is judged.
    workdir: made if it is not there.
    configs, changes, baseline: see `plan.plan`.

  Returns:
    The content of results.json.

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
  content = {
    "init": init,
    "step": dense.step_of(init),
    "versions": versions(),
    "device": device(),
    "rows": [],
    "failed": [],
    "skipped": [one._asdict() for one in skipped],
  }
  for number, one in enumerate(runs, 1):
    preemption.poll(f" before {one.name}")
    say = functools.partial(print, f"[{number}/{len(runs)}] {one.name}:")
    _judge(one, workdir / one.name, content, say)
    _write(workdir, content)  # so that an interruption leaves what there is
  return content


def _judge(one: Run, folder: pathlib.Path, content: Row, say) -> None:
  """Adds a protocol's rows to the content, or how it failed."""
  say(f"config {one.config.fingerprint()}, {folder}", flush=True)
  try:
    found, seconds = _finish(one, folder, say)
    _check_step(found, one, content["step"])
  except errors.Preempted:
    raise
  except (ValueError, OSError, RuntimeError) as error:
    text = " ".join(str(error).split())
    content["failed"].append({"name": one.name, "reason": text})
    if folder.is_dir():
      files.write_whole(folder / files.TRACEBACK, traceback.format_exc())
    say(f"failed: {text}", flush=True)
    return
  table.add(content["rows"], one, found["rows"], seconds)


def _finish(one: Run, folder: pathlib.Path, say) -> tuple[Row, float]:
  """Content of the protocol's results.json, and the seconds that it took.

  Those of an interrupted run count, but not of one that was killed at once.
  """
  state, results = _read(folder / _STATE), _read(folder / frozen.RESULTS)
  mine = state.get("key") == one.key
  spent = state["seconds"] if mine else 0.0
  if mine and state["finished"] and results:
    say(f"done before, {spent:.0f} s", flush=True)
    return results, spent
  from sigma_jax import tasks

  folder.mkdir(parents=True, exist_ok=True)
  start, finished = time.monotonic(), False
  _save(folder, one.key, spent, finished)
  try:
    tasks.run(one.config, folder)
    finished = True
  finally:
    spent += time.monotonic() - start
    _save(folder, one.key, spent, finished)
  say(f"done, {spent:.0f} s", flush=True)
  return json.loads((folder / frozen.RESULTS).read_text()), spent


def _save(folder, key: str, seconds: float, finished: bool) -> None:
  state = {"key": key, "seconds": seconds, "finished": finished}
  files.write_whole(folder / _STATE, json.dumps(state) + "\n")


def _read(path: pathlib.Path) -> Row:
  """A JSON object; {} where there is none or it is damaged."""
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _check(workdir: pathlib.Path, runs: Sequence[Run]) -> None:
  """Refuses to resume a training that was begun from something else."""
  for one in runs:
    folder = workdir / one.name
    other = _read(folder / _STATE).get("key") != one.key
    if workdir_lib.checkpoints(folder).exists() and other:
      raise errors.UserError(
        f"{folder} holds a training of another checkpoint, config or list of "
        "files: choose another --workdir, or remove it"
      )


def _check_step(found: Row, one: Run, step: int | None) -> None:
  if one.encoder == dense.PRETRAINED and found.get("step") != step:
    raise errors.UserError(
      f"step {found.get('step')} was judged and not step {step}: the "
      "checkpoint has been trained on meanwhile"
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


def device() -> str:
  """How many of which kind."""
  devices = jax.devices()
  return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
