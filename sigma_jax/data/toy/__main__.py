"""Command line of `python -m sigma_jax.data.toy`."""

import sys

from sigma_jax.data.toy import digits

if __name__ == "__main__":
  sys.exit(digits.main())
