"""Manifests from official annotation files: one command a data set.

python -m sigma_jax.data.layouts kinetics400 \\
    --annotations=/data/k400/annotations --videos=/data/k400 --out=data/k400

Writes OUT/train.csv and OUT/val.csv, `path label` a line; label_sets.json, the
classes' names, for data.label_sets; and missing.txt, the official rows without
a file. `DATASET --help` says which files are expected, docs/datasets where they
come from. Exit code: 0 done (rows may be missing), 2 the input has to change.
"""

import sys

from sigma_jax import cli

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
  modules = {
    name: (f"sigma_jax.data.layouts.{module}", "")
    for name, module in DATASETS.items()
  }
  parser = cli.commands(
    cli.program("sigma_jax.data.layouts"),
    __doc__,
    modules,
    formatter_class=cli.RAW,
  )
  args = parser.parse_args(argv)
  return cli.answer(lambda: args.run(args))


if __name__ == "__main__":
  sys.exit(main())
