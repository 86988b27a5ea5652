"""How long lists of millions of videos take to open, and how much memory."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from sigma_jax import errors
from sigma_jax.bench import output

# Lists of as many lines each, and how a line of them looks.
_LISTS = {
  "path label, by spaces": "{name} {label}\n",
  "path label, by commas": "{name},{label}\n",
  "names not all ASCII": "{name}\u00e9.mp4 {label}\n",
  "path frames -1 (VideoMAE V2)": "{name} 0 -1\n",
  "names with spaces, quoted": '"{name} x.mp4" {label}\n',
}
_SPLIT = "split line by line, nothing checked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument(
    "--lines", type=int, default=2_000_000, help="of a list; 2,000,000"
  )
  parser.add_argument("--turns", type=int, default=3, help="of each; 3")
  parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
  """Exit code 0. Every reading is in a process of its own."""
  for name in ("lines", "turns"):
    if getattr(args, name) <= 0:
      raise errors.UserError(f"--{name} must be positive")
  with tempfile.TemporaryDirectory() as folder:
    files = [
      _write(os.path.join(folder, f"{number}.csv"), form, args.lines)
      for number, form in enumerate(_LISTS.values())
    ]
    jobs = [(_SPLIT, "split", files[0])]
    jobs += [(n, "load", f) for n, f in zip(_LISTS, files, strict=True)]
    found = {name: [] for name, *_ in jobs}
    for _ in range(args.turns):
      for name, how, file in jobs:
        found[name].append(_read(how, file))
  rows = [
    {
      "list": name,
      "seconds": statistics.median(turn["seconds"] for turn in turns),
      "processor_s": statistics.median(turn["processor"] for turn in turns),
      "peak_MB": max(turn["megabytes"] for turn in turns),
    }
    for name, turns in found.items()
  ]
  result = {
    "title": f"lists of {args.lines:,} lines, median of {args.turns} turns",
    "rows": rows,
    "cpu": output.processor(),
    "versions": output.versions("numpy"),
  }
  output.show(result, args.json)
  return 0


def _write(path: str, form: str, lines: int) -> str:
  with open(path, "w", encoding="utf-8") as file:
    for row in range(lines):
      name = f"class_{row % 400:03d}/video_{row:09d}_000012_000022.mp4"
      file.write(form.format(name=name, label=row % 400))
  return path


def _read(how: str, path: str) -> dict[str, float]:
  command = [
    sys.executable,
    "-m",
    "sigma_jax.bench.data.lists_bench",
    how,
    path,
  ]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    raise errors.UserError(f"reading failed: {done.stderr.strip()[-300:]}")
  return json.loads(done.stdout)


def _measure(how: str, path: str) -> dict[str, float]:
  """Opens a list; memory: what the process held at most beyond before."""
  from sigma_jax.data import manifest

  before = _peak()
  start, processor = time.perf_counter(), time.process_time()
  if how == "split":
    with open(path, encoding="utf-8") as lines:
      kept = [line.split() for line in lines]
  else:
    kept = manifest.load(path, classes=False)
  seconds = time.perf_counter() - start
  assert len(kept)
  return {
    "seconds": seconds,
    "processor": time.process_time() - processor,
    "megabytes": (_peak() - before) / 1000,
  }


def _peak() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux


if __name__ == "__main__":
  print(json.dumps(_measure(*sys.argv[1:])))
