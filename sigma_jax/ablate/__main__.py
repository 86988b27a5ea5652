"""A grid of pre-trainings times seeds, each judged, in one table.

python -m sigma_jax.ablate configs/ablations/toy.py --workdir=runs/toy_ablation

Every run has a folder of its own in the workdir, which gets results.json,
results.md (beside the published ablation) and report.html. The same command
goes on where an interrupted one was. docs/ABLATIONS.md: how a grid is written.

Exit codes: 0 done; 1 a run failed; 2 the input has to change; 130 interrupted;
143 stopped by SIGTERM: the same command resumes.
"""

import sys

from absl import logging

from sigma_jax import cli, paths
from sigma_jax.pieces import pieces


def main(argv: list[str] | None = None) -> int:
  """Command line; the exit codes are the module's."""
  parser = cli.parser("sigma_jax.ablate", __doc__, allow_abbrev=False)
  parser.add_argument("grid", type=paths.argument, help="file of the grid")
  parser.add_argument(
    "--workdir",
    type=paths.argument,
    required=True,
    help="folder for all that is made",
  )
  for name, what in (("set", "pre-trainings"), ("judge-set", "judging")):
    parser.add_argument(
      f"--{name}",
      action="append",
      default=[],
      metavar="KEY=VALUE",
      help=f"an option of all {what}, such as train.steps=20; repeatable",
    )
  pieces.add_arguments(parser)
  args = parser.parse_args(argv)
  cli.hush_tensorflow()
  logging.set_verbosity(logging.WARNING)

  def work() -> int:
    # Imported late: --help need not wait for JAX.
    from sigma_jax.ablate import run

    return run.run(args)

  return cli.answer(work, "interrupted; the same command resumes")


if __name__ == "__main__":
  sys.exit(main())
