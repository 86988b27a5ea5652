"""What `config.task` can be: wires data, training and evaluation together.

A task is a module of its name here, with a function `run`.
"""

import importlib
import pathlib

from sigma_jax import compile_cache, settings


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
    RunStopped: the run ended itself.
  """
  compile_cache.use()
  task = importlib.import_module(f"sigma_jax.tasks.{config.task}")
  task.run(config, workdir, profile_steps)
