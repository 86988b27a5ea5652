"""What `sigma_jax.bench data` times of this package: see bench.contest.Case."""

import itertools
import json
import multiprocessing
import os
import pathlib
import time

import numpy as np

from sigma_jax import settings
from sigma_jax.data import sources

_TIMEOUT = 60.0  # seconds a clip
_BATCH = 8  # clips


def prepare(options: dict):
  """The case of `options["kind"]`: reader, pipeline or processes."""
  os.sched_setaffinity(0, options["cores"])
  kinds = {"reader": Reader, "pipeline": Pipeline, "processes": Processes}
  return kinds[options["kind"]](options)


class _Case:
  def results(self) -> dict[str, np.ndarray]:
    return {}

  def peak_bytes(self) -> None:
    return None

  def facts(self) -> dict:
    return {}


class Reader(_Case):
  """Clips as the pipeline's threads read them, in one thread."""

  def __init__(self, options: dict):
    """Opens `source` in `folder`; `clips.json` there says what to read."""
    folder = pathlib.Path(options["folder"])
    self._source = sources.load(str(folder / options["source"]))
    self._clips = json.loads((folder / "clips.json").read_text())

  def run(self) -> None:
    """Reads all clips of the list."""
    for clip in self._clips:
      self._last = self._read(clip)

  def _read(self, clip: dict) -> np.ndarray:
    with self._source.open(clip["row"], _TIMEOUT) as video:
      return video.read(
        np.array(clip["frames"]), lambda *_: clip["box"], clip["size"]
      )

  def results(self) -> dict[str, np.ndarray]:
    return {"clip": self._last}


class Pipeline(_Case):
  """pipeline.train_batches, from its second batch on."""

  def __init__(self, options: dict):
    """Opens the source; `workers` is data.workers, `count` clips are timed."""
    path = pathlib.Path(options["folder"]) / options["source"]
    self._source = sources.load(str(path))
    self._count = options["count"]
    self._settings = settings.Settings(
      data=settings.Data(workers=options["workers"]),
      train=settings.Train(batch_size=_BATCH),
    )

  def run(self) -> float:
    """Seconds for `count` clips, from those that were read in some seconds."""
    from sigma_jax.data import pipeline

    read = itertools.count()
    with pipeline.train_batches(
      self._settings,
      self._source,
      on_bad=_refuse,
      on_tried=lambda _: next(read),
    ) as batches:
      next(batches)
      start, first = time.perf_counter(), next(read)
      for _ in range(-(-self._count // _BATCH)):
        next(batches)
      seconds, last = time.perf_counter() - start, next(read)
    return seconds * self._count / (last - first - 1)


def _refuse(row: int, path: str, reason: str) -> None:
  raise ValueError(f"{path}: {reason}")


class Processes(_Case):
  """Readers beside each other, each in a process and on a core of its own."""

  def __init__(self, options: dict):
    """Starts one process for each of `cores`."""
    context = multiprocessing.get_context("spawn")
    self._ends = []
    for core in options["cores"]:
      ours, theirs = context.Pipe()
      work = options | {"cores": [core], "kind": "reader"}
      context.Process(target=_serve, args=(theirs, work), daemon=True).start()
      self._ends.append(ours)
    for end in self._ends:
      end.recv()

  def run(self) -> None:
    """All of them read all clips of the list."""
    for end in self._ends:
      end.send("run")
    for end in self._ends:
      end.recv()


def _serve(end, options: dict) -> None:
  """Runs a case at every message, until the sender is gone."""
  case = prepare(options)
  case.run()
  try:
    while True:
      end.send("done")
      end.recv()
      case.run()
  except EOFError:
    return
