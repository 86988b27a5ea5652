"""Options of commands that read lists as a run's `data` section says."""

import argparse

from sigma_jax import paths
from sigma_jax.settings.data import LIST_FORMS


def add(parser: argparse.ArgumentParser) -> None:
  """Adds --root, --list-form and --tar-labels, as in `settings.Data`."""
  parser.add_argument(
    "--root",
    type=paths.argument,
    default="",
    help="folder of relative paths; the list's",
  )
  parser.add_argument(
    "--list-form",
    choices=LIST_FORMS,
    default="",
    help="columns of a list without a header, where its lines leave it open",
  )
  parser.add_argument(
    "--tar-labels", default="", help="cls, txt or json:KEY of tars"
  )
