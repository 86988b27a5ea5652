"""Command line: `python -m sigma_jax.bench loss|step|compile|scaling ...`.

Each prints a table, or with --json one JSON object. Only `data` needs
TensorFlow, and not with --no-pipeline.
"""

import argparse
import importlib
import sys

from sigma_jax import errors

_COMMANDS = {
  "loss": "the assignment loss against a plain PyTorch writing of it",
  "step": "a pre-training step against the same model in PyTorch",
  "compile": "compile a config's step for a TPU topology, without a TPU",
  "data": "clips a second from videos and records, against other readers",
  "scaling": "memory and collective bytes over 1 to 256 chips, compiled",
}


def main(argv: list[str] | None = None) -> int:
  """Runs one benchmark.

  Returns:
    Exit code: 0 done, 1 results disagree, 2 the input has to change.
  """
  args = _parser().parse_args(argv)
  try:
    return args.run(args)
  except (errors.UserError, ValueError, OSError) as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return 2


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    self.exit(2, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="python -m sigma_jax.bench", description=__doc__)
  commands = parser.add_subparsers(
    required=True, metavar="COMMAND", parser_class=_Parser
  )
  for name, text in _COMMANDS.items():
    module = importlib.import_module(f"sigma_jax.bench.{name}_bench")
    command = commands.add_parser(name, help=text, description=module.__doc__)
    command.add_argument("--json", action="store_true", help="one JSON object")
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


if __name__ == "__main__":
  sys.exit(main())
