"""The folder of a run: its settings, and where its files stand.

Local or remote alike: a workdir may be `gs://bucket/run`.
"""

import dataclasses
import json
import os
from typing import Any

import jax
from etils import epath

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib

CONFIG = "config.json"
DONE = "done.json"  # there once a training has reached its last step
# A checkpoint fits only a run that agrees on all of these.
_MODEL_KEYS = (
  "task",
  "method.name",
  "data.num_frames",
  "data.size",
  "model",
  "target",
  "loss.kind",
  "loss.num_prototypes",
  "loss.levels",
  "supervised.trains",
  "supervised.pooling",
  "supervised.rates",
  "supervised.ema",
  "optimizer.weight_decay_end",  # of a schedule, which keeps a state
)
# Options of sections above that change no parameter's name or shape.
_FREE_KEYS = (
  "model.init",
  "model.dtype",
  "model.remat",
  "model.attention",
  "model.norm_epsilon",
  "target.weights",
  "target.dtype",
)
# Options that a config.json may be too old to have, and what runs did then.
_BEFORE = {"model.init": "xavier"}


def path(workdir: str | os.PathLike) -> epath.Path:
  """The workdir, absolute where it is local."""
  found = epath.Path(workdir)
  return found if files.is_remote(found) else found.absolute()


def checkpoints(workdir: str | os.PathLike) -> epath.Path:
  """The folder of its checkpoints."""
  return path(workdir) / "checkpoints"


def of_checkpoint(folder: str | os.PathLike) -> tuple[epath.Path, int | None]:
  """The workdir of a run, and which of its checkpoints is meant.

  Args:
    folder: WORKDIR, of which the newest is, None; or WORKDIR/checkpoints/STEP.
  """
  found = path(folder)
  if found.name.isdigit() and found.parent.name == "checkpoints":
    return found.parent.parent, int(found.name)
  return found, None


def write_config(
  workdir: str | os.PathLike, settings: settings_lib.Settings
) -> None:
  """Stores the run's settings; `continuing` tells whether they fit a run."""
  file = path(workdir) / CONFIG
  if jax.process_index() == 0:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(file, json.dumps(settings.to_dict(), indent=1) + "\n")


def begin(workdir: str | os.PathLike) -> None:
  """Notes that a training goes on."""
  if jax.process_index() == 0:
    (path(workdir) / DONE).unlink(missing_ok=True)


def end(workdir: str | os.PathLike, step: int) -> None:
  """Notes that a training has reached its last step."""
  if jax.process_index() == 0:
    files.write_whole(path(workdir) / DONE, json.dumps({"step": step}) + "\n")


def is_done(workdir: str | os.PathLike) -> bool:
  """Whether the training in the workdir has reached its last step."""
  return (path(workdir) / DONE).is_file()


def is_of_model(key: str) -> bool:
  """Whether checkpoints fit only a run that agrees on this option."""
  return key.startswith(_MODEL_KEYS) and key not in _FREE_KEYS


def read_config(workdir: str | os.PathLike) -> settings_lib.Settings:
  """The settings of the run in `workdir`, or that one of its checkpoints is of.

  Raises:
    UserError: there is no run in it, or not one of this version's.
  """
  file = of_checkpoint(workdir)[0] / CONFIG
  if not file.is_file():
    raise errors.UserError(
      f"no {CONFIG} in {str(workdir)!r}: expected the workdir of a "
      "pre-training run (a .pth or transformers folder becomes one by python "
      "-m sigma_jax.interop import SOURCE WORKDIR)"
    )
  try:
    stored = json.loads(file.read_text())
    if not isinstance(stored, dict) or "model_type" in stored:
      raise errors.UserError(
        "it is not a run's, but as in a folder of transformers: make a workdir "
        "of that (python -m sigma_jax.interop import FOLDER WORKDIR)"
      )
    for key, value in _BEFORE.items():
      section, name = key.split(".")
      stored.setdefault(section, {}).setdefault(name, value)
    # Older versions took any seed, and JAX's keys the lowest 32 bits of it.
    stored["seed"] = stored.get("seed", 0) % (1 << 32)
    settings = settings_lib.Settings.from_config(stored)
    if "table_grid" not in stored["model"]:
      settings = _with_table_before(settings)
    return settings
  except ValueError as error:
    raise errors.UserError(f"{file}: {error}") from error


def _with_table_before(run: settings_lib.Settings) -> settings_lib.Settings:
  """A run from before `model.table_grid`, with the table that it had.

  Fine-tuning and probes at another geometry than `init`'s interpolated its
  table then. Where `init` is no longer there it is taken to be of the same.
  """
  if run.task != "supervised" or not run.init:
    return run
  try:
    trained = read_config(run.init).grid
  except errors.UserError:
    if not path(run.init).is_file():
      return run
    # A .pth, which is taken to be of 16 x 224.
    side = 224 // run.model.patch
    trained = (16 // run.model.tubelet, side, side)
  if trained == run.grid:
    return run
  model = dataclasses.replace(run.model, table_grid=trained)
  return dataclasses.replace(run, model=model)


def differences(old: Any, new: Any, prefix: str = ""):
  """Yields (dotted key, old value, new value) of leaves that differ."""
  for key in sorted(set(old) | set(new)):
    there, here = old.get(key), new.get(key)
    if isinstance(there, dict) and isinstance(here, dict):
      yield from differences(there, here, f"{prefix}{key}.")
    elif there != here:
      yield f"{prefix}{key}", there, here
