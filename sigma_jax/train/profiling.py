"""Traces of some steps, for TensorBoard's profile page or xprof."""

import os

import jax

from sigma_jax import errors
from sigma_jax.train import metrics
from sigma_jax.train import workdir as workdir_lib


def check(steps: range, total: int) -> None:
  """Refuses steps, counted from 1, that a run of so many never comes to.

  Raises:
    UserError: naming both.
  """
  if steps and steps[-1] > total:
    raise errors.UserError(
      f"--profile_steps={steps[0]}:{steps[-1]}: the run has {total} steps"
    )


class Profile:
  """Runs JAX's profiler over `steps`, once, into workdir/profile."""

  def __init__(self, workdir: str | os.PathLike, steps: range):
    """steps: counted from 1; an empty range traces nothing."""
    self._folder = str(workdir_lib.path(workdir) / "profile")
    self._steps = steps
    self._running = False

  def before(self, step: int) -> None:
    """Called before a step is started."""
    if step in self._steps and not self._running:
      jax.profiler.start_trace(self._folder)
      self._running = True
    elif self._running and step not in self._steps:
      self.close()

  def close(self) -> None:
    """Ends the trace and writes it, if one is running."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
      metrics.say(f"profile of steps {self._name()}: {self._folder}")

  def _name(self) -> str:
    return f"{self._steps.start} to {self._steps.stop - 1}"
