"""Parts of training sets, as SEVERE draws them.

"How Severe is Benchmark-Sensitivity in Video Self-Supervised Learning?",
https://arxiv.org/abs/2203.14221, sections III (sample efficiency) and IV.
"""

import math

import numpy as np

from sigma_jax import errors
from sigma_jax.data.layouts.manifests import Row

SEED = 99999  # of the published code


def add_examples(parser) -> None:
  """Adds --examples."""
  parser.add_argument(
    "--examples",
    type=int,
    default=0,
    help="keep ceil(EXAMPLES / classes) training rows a class, SEVERE's draw; "
    "1000 for its sample efficiency tasks",
  )


def examples(rows: list[Row], args) -> list[Row]:
  """The rows that `args.examples` keeps: all of them if it is 0."""
  if args.examples < 0:
    raise errors.UserError(f"--examples must be positive, got {args.examples}")
  return per_class(rows, args.examples, SEED) if args.examples else rows


def per_class(rows: list[Row], total: int, seed: int) -> list[Row]:
  """ceil(total / classes) rows of each class, or all that it has.

  One NumPy RandomState serves the classes in increasing order, as in the
  published code, so that equal rows give the published selection.

  Args:
    rows: of any number of classes.
    total: rows wanted of all classes together.
    seed: of the RandomState.

  Returns:
    The rows, class by class, in the order drawn.
  """
  labels = np.asarray([row.label for row in rows])
  classes = np.unique(labels)
  share = math.ceil(total / len(classes))
  random = np.random.RandomState(seed)
  kept = []
  for label in classes:
    places = np.flatnonzero(labels == label)
    drawn = random.choice(len(places), min(share, len(places)), replace=False)
    kept += [rows[place] for place in places[drawn]]
  return kept


def label_range(rows: list[Row], first: int, last: int) -> list[Row]:
  """Rows labelled first .. last, with labels that start at 0."""
  return [
    Row(row.name, row.label - first, row.hints)
    for row in rows
    if first <= row.label <= last
  ]
