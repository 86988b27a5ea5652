"""Command line: `python -m sigma_jax.evaluate suite --init=... --workdir=...`.

Exit codes: 0 done; 1 a protocol failed; 2 the input has to change; 130
interrupted; 143 stopped by SIGTERM: the same command resumes.
"""

import sys

from absl import logging

from sigma_jax import cli

# On top of all that it judges with, so not below this folder.
_COMMANDS = {
  "suite": ("sigma_jax.suite.run", "every protocol whose data is there"),
}


def main(argv: list[str] | None = None) -> int:
  """Runs one command; the exit codes are the module's."""
  parser = cli.commands(
    cli.program("sigma_jax.evaluate"), __doc__, _COMMANDS, allow_abbrev=False
  )
  args = parser.parse_args(argv)
  cli.hush_tensorflow()
  logging.set_verbosity(logging.WARNING)
  return cli.answer(
    lambda: args.run(args), "interrupted; the same command resumes"
  )


if __name__ == "__main__":
  sys.exit(main())
