"""Clips a second from videos, prepared records, folders of frames and tars.

A clip is 16 frames at stride 4, cut by the training crop and scaled to 224
pixels. Every contender, other libraries among them, reads the same clips of the
same drawn videos, in one thread on one core; then come the input pipeline with
one and two threads, and two processes against one. Libraries that are not
installed are named as absent.

With --memory, resident memory over that many small clips instead, some of the
files being damaged; --plot draws it.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np

from sigma_jax import errors, paths
from sigma_jax.bench import contest, output
from sigma_jax.bench.data import rivals

# What is read: its name in the table, and in the folder that is made for it.
SOURCES = {
  "GOP 12": "gop12.txt",
  "GOP 250": "gop250.txt",
  "records": "records",
  "frames": "frames.txt",
  "tar": "tars",
}
_FILES = ("GOP 12", "GOP 250")  # what other libraries read too
_PACKAGES = (
  *("av", "numpy", "pillow", "tensorflow-cpu", "tensorflow"),
  *("decord2", "opencv-python-headless", "torchcodec", "torch"),
)
_SPAN = 61  # frames from the first to the last of a clip
_CASES = "sigma_jax.bench.data.cases"
# Grey levels, on average, between a clip and ours: other libraries round
# colours down and do not antialias, records and frames are JPEGs. Of other
# frames, or of a box elsewhere, it would be tens.
_TOLERANCE = 8.0
# With --memory: small, for many clips in a short time; so many videos that the
# replacements of a damaged one are not all damaged too.
_SMALL = {"width": 128, "height": 96, "frames": 70, "gops": [12], "videos": 24}
_SMALL_SIZE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument("--turns", type=int, default=5, help="timed runs of each")
  parser.add_argument("--clips", type=int, default=24, help="read in a turn")
  parser.add_argument("--videos", type=int, default=4, help="of each kind")
  parser.add_argument("--frames", type=int, default=250, help="of a video")
  parser.add_argument(
    "--manifest",
    type=paths.argument,
    help="of the videos, cut and compressed anew; else: drawn",
  )
  parser.add_argument("--width", type=int, default=340)
  parser.add_argument("--height", type=int, default=256)
  parser.add_argument(
    "--no-pipeline", action="store_true", help="nothing that needs TensorFlow"
  )
  parser.add_argument(
    "--memory", type=int, metavar="CLIPS", help="read so many, watch memory"
  )
  parser.add_argument(
    "--plot",
    type=paths.argument,
    metavar="FILE",
    help="of memory, by clips read; .png, .svg, ...",
  )


def run(args: argparse.Namespace) -> int:
  """Exit code 0, or 1 where a contender's clips are not ours."""
  for name in ("turns", "clips", "videos", "frames", "width", "height"):
    if getattr(args, name) <= 0:
      raise errors.UserError(f"--{name} must be positive")
  if args.frames < _SPAN:
    raise errors.UserError(f"--frames must be at least {_SPAN}, a clip's span")
  if args.width % 2 or args.height % 2:
    raise errors.UserError("--width and --height must be even: H.264 wants it")
  if args.memory is not None and args.memory <= 0:
    raise errors.UserError("--memory must be positive")
  if args.plot and not args.memory:
    raise errors.UserError("--plot draws memory: give --memory=CLIPS too")
  with tempfile.TemporaryDirectory() as folder:
    if args.memory:
      output.show(_memory(args, folder), args.json)
      return 0
    result, agree = _compare(args, folder)
  output.show(result, args.json)
  return 0 if agree else 1


def _make(folder: str, args, **changes) -> None:
  names = ("manifest", "videos", "clips", "frames", "width", "height")
  options = {name: getattr(args, name) for name in names}
  options |= {"gops": (12, 250), "records": True, "spoilt": 0} | changes
  _python("-m", "sigma_jax.bench.data.inputs", folder, json.dumps(options))


def _python(*arguments: str) -> str:
  """What a Python program prints."""
  done = subprocess.run(
    [sys.executable, *arguments], capture_output=True, text=True
  )
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ["it gives no reason"])[-1]
    raise errors.UserError(f"{arguments[1]} failed: {last}")
  return done.stdout


def _compare(args, folder: str) -> tuple[dict[str, Any], bool]:
  _make(folder, args)
  absent = {name: absence(name) for name in rivals.MODULES}
  absent = {name: reason for name, reason in absent.items() if reason}
  entries = _entries(args, folder, rivals.MODULES.keys() - absent.keys())
  outcomes = contest.hold(
    {entry.name: (entry.module, entry.options) for entry in entries},
    args.turns,
    folder,
  )
  rows, agree = _rows(entries, outcomes)
  best = {row["contender"]: row["clips_per_s"] for row in rows}
  return {
    "title": f"data: {args.clips} clips of {args.width} x {args.height} videos "
    f"a turn, {args.turns} turns, least time",
    "rows": rows,
    "two_processes_to_one": {
      videos: best[f"two processes, {videos}"] / best[f"sigma_jax, {videos}"]
      for videos in (SOURCES if len(os.sched_getaffinity(0)) > 1 else ())
    }
    or None,
    "absent": absent or None,
    "cpu": output.processor(),
    "versions": output.versions(*_PACKAGES),
  }, agree


def absence(library: str) -> str | None:
  """Why a library takes no part, if it does not."""
  module = rivals.MODULES[library]
  if importlib.util.find_spec(module.split(".")[0]) is None:
    return "not installed"
  try:
    _python("-c", f"import {module}")
  except errors.UserError as error:
    return f"installed, but does not load ({error})"
  return None


class _Entry(NamedTuple):
  """One contender: what it is called, what it does, clips it reads a turn."""

  name: str
  module: str
  options: dict
  clips: int
  videos: str


def _entries(args, folder: str, others) -> list[_Entry]:
  cores, entries = sorted(os.sched_getaffinity(0)), []

  def add(name, videos, module=_CASES, share=1, **options):
    options |= {"folder": folder, "source": SOURCES[videos]}
    options = {"cores": cores[:1], "kind": "reader"} | options
    name = f"{name}, {videos}"
    entries.append(_Entry(name, module, options, share * args.clips, videos))

  for videos in SOURCES:
    add("sigma_jax", videos)
    for name in sorted(others) if videos in _FILES else ():
      add(name, videos, "sigma_jax.bench.data.rivals", library=name)
  for videos in SOURCES:
    if len(cores) > 1:
      add("two processes", videos, kind="processes", cores=cores[:2], share=2)
    for workers in () if args.no_pipeline else range(1, len(cores[:2]) + 1):
      shape = {"workers": workers, "cores": cores[:workers]}
      name = f"pipeline of {workers}"
      add(name, videos, kind="pipeline", count=args.clips, **shape)
  return entries


def _rows(entries: list[_Entry], outcomes) -> tuple[list[dict], bool]:
  rows, agree = [], True
  for entry in entries:
    found = outcomes[entry.name]
    row = {
      "contender": entry.name,
      "clips_per_s": entry.clips / min(found.seconds),
      "median": entry.clips / found.median,
      "times_gop_250": None,
      "differs": None,
    }
    if "clip" in found.results:
      # The other forms are made of the videos with a GOP of 250.
      videos = entry.videos if entry.videos in _FILES else "GOP 250"
      ours = outcomes[f"sigma_jax, {videos}"].results["clip"]
      apart = found.results["clip"].astype(float) - ours
      row["differs"] = float(np.abs(apart).mean())
      agree &= row["differs"] < _TOLERANCE
    rows.append(row)
  slowest = next(r for r in rows if r["contender"] == "sigma_jax, GOP 250")
  for row in rows:
    row["times_gop_250"] = row["clips_per_s"] / slowest["clips_per_s"]
  return rows, agree


def _memory(args, folder: str) -> dict[str, Any]:
  _make(folder, args, spoilt=3, records=False, **_SMALL)
  printed = _python(
    "-m",
    "sigma_jax.bench.data.memory",
    *(folder, SOURCES["GOP 12"], str(args.memory), str(_SMALL_SIZE)),
  )
  lines = [json.loads(line) for line in printed.splitlines()]
  clips = np.array([line["clips"] for line in lines])
  megabytes = np.array([line["bytes"] / 1e6 for line in lines])
  late = slice(len(lines) // 4, None)  # after threads and caches are there
  slope = float(np.polyfit(clips[late], megabytes[late], 1)[0] * 1000)
  if args.plot:
    _plot(clips, megabytes, args.plot)
  return {
    "title": f"memory: {args.memory} clips of {_SMALL_SIZE} pixels from "
    f"{_SMALL['width']} x {_SMALL['height']} videos, two threads",
    "rows": lines if args.json else lines[:: len(lines) // 10 or 1],
    "mb_per_1000_clips": slope,
    "from_clip": int(clips[late][0]),
    "cpu": output.processor(),
    "versions": output.versions(*_PACKAGES),
  }


def _plot(clips: np.ndarray, megabytes: np.ndarray, path: str) -> None:
  """Draws memory by clips read into a file of the kind that its name says."""
  figure = matplotlib.figure.Figure(figsize=(6, 2.8), layout="constrained")
  axes = figure.subplots()
  axes.plot(clips, megabytes)
  axes.set_ylim(0, 1.2 * megabytes.max())
  axes.set_xlabel("clips read")
  axes.set_ylabel("resident memory, MB")
  axes.grid(alpha=0.3)
  figure.savefig(path, dpi=100)
