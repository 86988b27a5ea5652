"""Prints all options with their defaults: docs/OPTIONS.md is what it prints.

python -m sigma_jax.settings > docs/OPTIONS.md
"""

import sys

from sigma_jax import cli
from sigma_jax.settings import listing


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  parser = cli.parser("sigma_jax.settings", __doc__)
  parser.parse_args(argv)
  return cli.answer(lambda: print(listing.page(), end=""))


if __name__ == "__main__":
  sys.exit(main())
