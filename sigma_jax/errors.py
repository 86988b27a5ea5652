"""Errors whose cause is the user's input or machine, told in one line.

`main` prints them without a traceback (and keeps the traceback in a file).
"""


class UserError(ValueError):
  """A setting, path or file that the user has to change."""


class RunStopped(RuntimeError):
  """A run that ended itself because going on would be wrong."""


class Preempted(RunStopped):
  """A run that was asked to stop, and has saved what it had.

  Attributes:
    code: the exit code, 128 + the signal's number.
  """

  code = 143


class Interrupted(Preempted):
  """A run that Ctrl-C asked to stop; otherwise as `Preempted`."""

  code = 130
