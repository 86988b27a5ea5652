"""Manifests from official annotation files: one command a data set.

python -m sigma_jax.data.layouts kinetics400 \\
    --annotations=/data/k400/annotations --videos=/data/k400 --out=data/k400

Writes OUT/train.csv and OUT/val.csv, `path label` a line; label_sets.json, the
classes' names, for data.label_sets; and missing.txt, the official rows without
a file. `DATASET --help` says which files are expected, docs/datasets where they
come from. Exit code: 0 done (rows may be missing), 2 the input has to change.
"""

import argparse
import importlib
import sys

from sigma_jax import errors
from sigma_jax.data.layouts import arguments

# Command: its module.
DATASETS = {
  "kinetics400": "kinetics",
  "kinetics600": "kinetics",
  "kinetics700": "kinetics",
  "ssv2": "ssv2",
  "ucf101": "ucf101",
  "hmdb51": "hmdb51",
  "diving48": "diving48",
  "gym99": "gym99",
  "charades": "charades",
  "ucfrep": "ucfrep",
  "imagenet": "imagenet",
  "cifar100": "cifar100",
  "davis": "davis",
  "youtube_vos": "youtube_vos",
}


def main(argv: list[str] | None = None) -> int:
  """Runs one command; returns the exit code."""
  args = _parser().parse_args(argv)
  try:
    args.run(args)
  except (errors.UserError, ValueError, OSError) as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return 2
  return 0


def _parser() -> argparse.ArgumentParser:
  raw = argparse.RawDescriptionHelpFormatter
  parser = arguments.Parser(
    prog="python -m sigma_jax.data.layouts",
    description=__doc__,
    formatter_class=raw,
  )
  commands = parser.add_subparsers(
    required=True,
    metavar="DATASET",
    dest="command",
    parser_class=arguments.Parser,
  )
  for name, module_name in DATASETS.items():
    module = importlib.import_module(f"sigma_jax.data.layouts.{module_name}")
    command = commands.add_parser(
      name,
      help=module.__doc__.splitlines()[0],
      description=module.__doc__,
      formatter_class=raw,
    )
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


if __name__ == "__main__":
  sys.exit(main())
