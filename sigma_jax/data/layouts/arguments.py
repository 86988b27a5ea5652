"""What the commands of several data sets have in common."""

import argparse

from sigma_jax import paths


def add_out(parser: argparse.ArgumentParser) -> None:
  """Adds --out."""
  parser.add_argument(
    "--out", type=paths.argument, required=True, help="folder to write, made"
  )


def add_videos(parser: argparse.ArgumentParser, annotations: str) -> None:
  """Adds --annotations (its help is given), --videos, --out, --relative."""
  parser.add_argument(
    "--annotations", type=paths.argument, required=True, help=annotations
  )
  parser.add_argument(
    "--videos",
    type=paths.argument,
    required=True,
    help="folder of the videos, at any depth",
  )
  add_out(parser)
  parser.add_argument(
    "--relative",
    action="store_true",
    help="write paths relative to --videos, for data.root; else absolute",
  )
