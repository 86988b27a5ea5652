"""Time from the command to a run's first steps, cold and warm.

Each start is a process of its own, of a workdir of its own, that prints its
lines with the time since it was started. Cold: no program was compiled before.
Warm: the same command once more, with what the cold one compiled. Another
process may have read the same files already: disks are always warm.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from sigma_jax import errors, paths
from sigma_jax.bench import output

_STEPS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument(
    "--config",
    type=paths.argument,
    default="configs/toy.py",
    help="%(default)s",
  )
  parser.add_argument(
    "--train", type=paths.argument, required=True, help="list of clips to read"
  )
  parser.add_argument(
    "--set", action="append", default=[], help="KEY=VALUE, as often as wanted"
  )
  parser.add_argument("--turns", type=int, default=1, help="of both; 1")
  parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
  """Starts and stops runs; prints.

  Raises:
    UserError: a run failed.
  """
  rows = []
  for turn in range(args.turns):
    with tempfile.TemporaryDirectory() as folder:
      for cache in ("cold", "warm"):
        found = _start(args, folder, f"{folder}/{cache}")
        rows.append({"programs": cache, "turn": turn + 1, **found})
  result = {
    "title": f"{args.config}: seconds from the command on",
    "rows": rows,
    "cores": len(os.sched_getaffinity(0)),
    "versions": output.versions("jax", "jaxlib", "tensorflow"),
  }
  output.show(result, args.json)
  return 0


def _start(args, cache: str, workdir: str) -> dict[str, float]:
  """Seconds until a run has read its config, has its state, has a step."""
  settings = {
    "data.train": args.train,
    "train.steps": _STEPS,
    "train.log_every": 1,
    "evaluate.every": 0,
    **dict(each.split("=", 1) for each in args.set),
  }
  command = [sys.executable, "-m", "sigma_jax.main", f"--config={args.config}"]
  command += [f"--workdir={workdir}"]
  command += [f"--config.{key}={value}" for key, value in settings.items()]
  marks = {"config ": "state_s", f"step 1/{_STEPS}": "step_1_s"}
  marks[f"step {_STEPS}/{_STEPS}"] = f"step_{_STEPS}_s"
  found, said = dict.fromkeys(marks.values()), []
  start = time.perf_counter()
  with subprocess.Popen(
    command,
    env={**os.environ, "XDG_CACHE_HOME": cache},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    for line in process.stdout:
      said.append(line)
      for mark, name in marks.items():
        if line.startswith(mark):
          found[name] = time.perf_counter() - start
  if process.returncode:
    raise errors.UserError(f"{' '.join(command)} failed: {said[-1].strip()}")
  return {**found, "end_s": time.perf_counter() - start}
