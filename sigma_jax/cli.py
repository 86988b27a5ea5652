"""What all commands share: arguments, mistakes in one line, exit codes."""

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable

from sigma_jax import errors, full_disk

RAW = argparse.RawDescriptionHelpFormatter  # help as the docstring is written


PROGRAM = "sigma-jax"  # the command of an installed package


def program(module: str) -> str:
  """How a command was called: by its module, or as one of sigma-jax's."""
  called = sys.argv[0]
  if called.partition(" ")[0] == PROGRAM:
    return called
  return f"python -m {module}"


def another(command: str, module: str) -> str:
  """How another command is called from where this one was."""
  if sys.argv[0].partition(" ")[0] == PROGRAM:
    return f"{PROGRAM} {command}"
  return f"python -m {module}"


class Parser(argparse.ArgumentParser):
  """Answers a mistake in one line."""

  def error(self, message: str):
    self.exit(2, f"error: {message}\n")


def parser(module: str, doc: str, **options) -> Parser:
  """Of a module's command line; its help is `doc`, as written."""
  return Parser(
    prog=program(module), description=doc, formatter_class=RAW, **options
  )


def commands(
  prog: str, doc: str, modules: dict[str, tuple[str, str]], **options
) -> Parser:
  """A parser of several commands, a module each.

  Args:
    prog: how the program is called.
    doc: what its help says.
    modules: command -> (module, what its line of help says; "": the module's
      first line). A module has add_arguments(parser) and run(args).
    options: further ones of every parser.
  """
  parser = Parser(prog=prog, description=doc, **options)
  add = parser.add_subparsers(
    required=True, metavar="COMMAND", dest="command", parser_class=Parser
  )
  for name, (place, text) in modules.items():
    module = importlib.import_module(place)
    command = add.add_parser(
      name,
      help=text or module.__doc__.splitlines()[0],
      description=module.__doc__,
      **options,
    )
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


def answer(
  work: Callable[[], int | None], interrupted: str = "interrupted"
) -> int:
  """Does the work of a command, and turns how it ends into an exit code.

  Args:
    work: returns the exit code; None: 0.
    interrupted: said after Ctrl-C.

  Returns:
    The work's; 1 it stopped itself, or a disk is full; 2 the input has to
    change; 130 Ctrl-C; 143 stopped by SIGTERM.
  """
  try:
    return work() or 0
  except errors.Preempted as error:
    print(error, file=sys.stderr, flush=True)
    return error.code
  except errors.RunStopped as error:
    return fail(error, 1)
  except Exception as error:
    if not isinstance(error, errors.UserError) and full_disk.reason(error):
      return fail(full_disk.line(error), 1)
    if isinstance(error, (ValueError, OSError)):  # as UserError is
      return fail(error, 2)
    raise
  except KeyboardInterrupt:
    print(interrupted, file=sys.stderr, flush=True)
    return 130


def fail(error: Exception | str, code: int) -> int:
  """Says in one line what is wrong; returns the code."""
  print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
  return code


def hush_tensorflow() -> None:
  """It only feeds data here: its start-up lines are kept out. Before import."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  # It imports this along, which warns of a home folder without room.
  logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


class Progress:
  """One line on stderr: rewritten on a terminal, else every ten seconds.

  Attributes:
    bad: how many could not be read, as far as the caller has counted.
  """

  def __init__(self, what: str, total: int):
    self._what, self._total = what, total
    self._done, self._skipped, self.bad = 0, 0, 0
    self._start = self._shown = time.monotonic()

  def skip(self, count: int) -> None:
    """So many were done by an earlier call."""
    self._done += count
    self._skipped += count

  def add(self, count: int = 1) -> None:
    """So many more are done."""
    self._done += count
    terminal, now = sys.stderr.isatty(), time.monotonic()
    last = self._done >= self._total
    if not last and now - self._shown < (0.2 if terminal else 10.0):
      return
    self._shown = now
    rate = (self._done - self._skipped) / max(now - self._start, 1e-9)
    left = (self._total - self._done) / max(rate, 1e-9)
    line = f"{self._done}/{self._total} {self._what}, {rate:.1f}/s"
    line += f", {self.bad} unreadable" if self.bad else ""
    line += f", {left:.0f} s left  " if left >= 1 else "      "
    end = "\r" if terminal and not last else "\n"
    print(line, end=end, file=sys.stderr, flush=True)
