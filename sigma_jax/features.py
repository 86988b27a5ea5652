"""`python -m sigma_jax.features`, by its short name: see inference.features."""

import sys

from sigma_jax.inference.features import main

if __name__ == "__main__":
  sys.exit(main())
