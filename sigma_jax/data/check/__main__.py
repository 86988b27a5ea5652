"""Command line of `python -m sigma_jax.data.check`."""

import sys

from sigma_jax.data.check import command

if __name__ == "__main__":
  sys.exit(command.main())
