"""Command line: `python -m sigma_jax.bench loss|step|compile|scaling ...`.

Each prints a table, or with --json one JSON object. Only `data` needs
TensorFlow, and not with --no-pipeline.
"""

import argparse
import importlib
import sys

from sigma_jax import errors

_COMMANDS = {
  "loss_bench": "the assignment loss against a plain PyTorch writing of it",
  "step_bench": "a pre-training step against the same model in PyTorch",
  "pod.compile_bench": "compile a config's step for TPUs, without a TPU",
  "data.data_bench": "clips a second from videos and records, beside others",
  "pod.scaling_bench": "memory and collective bytes over 1 to 256 chips",
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
  for place, text in _COMMANDS.items():
    module = importlib.import_module(f"sigma_jax.bench.{place}")
    name = place.rpartition(".")[2].removesuffix("_bench")
    command = commands.add_parser(name, help=text, description=module.__doc__)
    command.add_argument("--json", action="store_true", help="one JSON object")
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


if __name__ == "__main__":
  sys.exit(main())
