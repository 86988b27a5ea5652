"""What `config.task` can be: wires data, training and evaluation together.

A task is a module of its name here, with a function `run`.
"""

import importlib
import pathlib

import jax

from sigma_jax import compile_cache, errors, files, settings
from sigma_jax.train import lock, metrics, write_faults


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Runs the config's task in the workdir.

  Args:
    config, workdir: of the run.
    profile_steps: steps of a training to trace.

  Raises:
    UserError, FileNotFoundError: the input has to change.
    RunStopped: the run ended itself, or the disk is full.
  """
  compile_cache.use()
  if jax.process_index() == 0:
    _check_writable(workdir)
  task = importlib.import_module(f"sigma_jax.tasks.{config.task}")
  with write_faults.of_run(workdir), lock.hold(workdir, metrics.say):
    if jax.process_index() == 0:  # an earlier call's: this one has begun
      (workdir / files.TRACEBACK).unlink(missing_ok=True)
    task.run(config, workdir, profile_steps)


def _check_writable(workdir: pathlib.Path) -> None:
  """Refuses a folder that results could not be written to, hours later."""
  note = workdir / ".writable"
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_whole(note, "")
    note.unlink()
  except OSError as error:
    raise errors.UserError(
      f"--workdir {str(workdir)!r} cannot be written to: {error}"
    ) from error
