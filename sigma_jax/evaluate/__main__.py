"""Command line: `python -m sigma_jax.evaluate suite --init=... --workdir=...`.

Exit codes: 0 done; 1 a protocol failed; 2 the input has to change; 130
interrupted; 143 stopped by SIGTERM: the same command resumes.
"""

import argparse
import importlib
import os
import sys

from absl import logging

from sigma_jax import errors

_COMMANDS = {"suite": "every protocol whose data is there, in one table"}


def main(argv: list[str] | None = None) -> int:
  """Runs one command; the exit codes are the module's."""
  args = _parser().parse_args(argv)
  # TensorFlow only feeds data here: keep its start-up lines out.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  logging.set_verbosity(logging.WARNING)
  try:
    return args.run(args)
  except errors.Preempted as error:
    print(error, file=sys.stderr, flush=True)
    return error.code
  except errors.RunStopped as error:
    return _fail(error, 1)
  except (ValueError, OSError) as error:
    return _fail(error, 2)
  except KeyboardInterrupt:
    print("interrupted; the same command resumes", file=sys.stderr, flush=True)
    return 130


def _fail(error: Exception, code: int) -> int:
  print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
  return code


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    self.exit(2, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog="python -m sigma_jax.evaluate",
    description=__doc__,
    allow_abbrev=False,
  )
  commands = parser.add_subparsers(
    required=True, metavar="COMMAND", parser_class=_Parser
  )
  for name, text in _COMMANDS.items():
    module = importlib.import_module(f"sigma_jax.{name}.run")
    command = commands.add_parser(
      name, help=text, description=module.__doc__, allow_abbrev=False
    )
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


if __name__ == "__main__":
  sys.exit(main())
