"""One protocol of a suite: a piece of work that notes how it has ended."""

import json
import pathlib
import time
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from sigma_jax import errors, files
from sigma_jax.evaluate import frozen
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.pieces import pieces
from sigma_jax.suite.plan import Run
from sigma_jax.train import preemption

STATE = "suite.json"  # in a protocol's folder: what of it is done


class Job(NamedTuple):
  """A protocol to be run.

  folder: its own. place: says which of how many. step: of the checkpoint.
  """

  run: Run
  folder: str
  place: str
  step: int | None


@preemption.watching()
def do(jobs: Sequence[Job], workers: int, tally: pieces.Tally) -> None:
  """Runs protocols; each notes in its folder how it has ended.

  Args:
    jobs: of `judge`.
    workers: not asked for: JAX takes what it is given.
    tally: is told of each.
  """
  del workers
  for job in jobs:
    preemption.poll(f" before {job.run.name}")
    try:
      _finish(job)
    except errors.Preempted:
      raise
    except (ValueError, OSError, RuntimeError) as error:
      text = " ".join(str(error).split())
      folder = pathlib.Path(job.folder)
      files.write_whole(folder / files.TRACEBACK, traceback.format_exc())
      _save(job, state(job).get("seconds", 0.0), failed=text)
      say(job, f"failed: {text}")
    tally.add()


def say(job: Job, line: str) -> None:
  """Prints a line of a protocol's."""
  print(f"{job.place} {job.run.name}: {line}", flush=True)


def _finish(job: Job) -> None:
  """Runs a protocol, or what is left of it.

  The seconds of an interrupted run count, but not of one that was killed at
  once.
  """
  from sigma_jax import tasks

  one, folder = job.run, pathlib.Path(job.folder)
  say(job, f"config {one.config.fingerprint()}, {folder}")
  spent = state(job).get("seconds", 0.0)
  folder.mkdir(parents=True, exist_ok=True)
  start, finished = time.monotonic(), False
  _save(job, spent)
  try:
    tasks.run(one.config, folder)
    _check_step(read(folder / frozen.RESULTS), one, job.step)
    finished = True
  finally:
    spent += time.monotonic() - start
    _save(job, spent, finished)
  say(job, f"done, {spent:.0f} s")


def state(job: Job) -> dict[str, Any]:
  """How a protocol has ended; {}: not yet, or it was another one."""
  folder = pathlib.Path(job.folder)
  found = read(folder / STATE)
  if found.get("key") != job.run.key:
    return {}
  if found["finished"] and not read(folder / frozen.RESULTS):
    found["finished"] = False
  return found


def _save(
  job: Job, seconds: float, finished: bool = False, failed: str = ""
) -> None:
  content = {"key": job.run.key, "seconds": seconds, "finished": finished}
  content |= {"failed": failed, "device": device()}
  path = pathlib.Path(job.folder) / STATE
  files.write_whole(path, json.dumps(content) + "\n")


def read(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object; {} where there is none or it is damaged."""
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _check_step(found: dict[str, Any], one: Run, step: int | None) -> None:
  if one.encoder == dense.PRETRAINED and found.get("step") != step:
    raise errors.UserError(
      f"step {found.get('step')} was judged and not step {step}: the "
      "checkpoint has been trained on meanwhile"
    )


def device() -> str:
  """How many of which kind."""
  devices = jax.devices()
  return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
