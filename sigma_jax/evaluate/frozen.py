"""The frozen evaluation of one encoder: linear probe and kNN, every label set.

Results are rows of plain values, ready for JSON and for the report's table.
"""

import json
import os
from typing import Any

import numpy as np

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features, knn, linear, scores
from sigma_jax.train import workdir as workdir_lib

RESULTS = "results.json"
Row = dict[str, Any]


def evaluate(
  probe: settings_lib.Probe,
  train: features.FeatureSet,
  test: features.FeatureSet,
  train_labels: np.ndarray,
  test_labels: np.ndarray,
  num_classes: int,
) -> list[Row]:
  """Linear-probe and kNN accuracy on one label set.

  Args:
    probe: the protocol's options.
    train, test: features of the two splits. Test clips are predicted, and
      nothing else: neighbours, weights and penalty are of `train`.
    train_labels, test_labels: int, indexed by manifest row, in [0, c).
    num_classes: c.

  Returns:
    One row per protocol: protocol, top1, low, high, those of
    `scores.beside_top1` (all in [0, 1]), num_train, num_test, chance (of the
    most frequent training class).

  Raises:
    UserError: there is only one class among the training clips.
    RunStopped: there are no training or no test clips.
  """
  y, truth = train_labels[train.rows], test_labels[test.rows]
  for split, labels in (("training", y), ("test", truth)):
    if not len(labels):
      raise errors.RunStopped(f"no clip of the {split} split could be read")
  if len(np.unique(y)) == 1:
    raise errors.UserError(
      f"only one class in the {len(y)} training clips that could be read; any "
      "classifier would be right on it"
    )
  x, queries = features.standardize(train.features, test.features)
  linear_out, penalty = linear.predict(
    x,
    y,
    queries,
    num_classes=num_classes,
    penalties=probe.penalties,
    groups=train.rows,
  )
  knn_out = knn.predict(
    x,
    y,
    queries,
    num_classes=num_classes,
    k=probe.knn_k,
    temperature=probe.knn_temperature,
  )
  # Up to k classes get votes. The others are not next to them: the order of
  # their numbers says nothing (https://github.com/facebookresearch/dino/issues/89).
  knn_out = np.where(knn_out > 0, knn_out, -np.inf)
  common = {
    "num_train": len(x),
    "num_test": len(queries),
    "chance": float(np.mean(truth == np.bincount(y).argmax())),
  }
  rows = []
  for name, out, option in (
    ("linear", linear_out, {"penalty": penalty}),
    ("knn", knn_out, {"k": min(probe.knn_k, len(x))}),
  ):
    correct = scores.top1(out, truth)
    low, high = scores.bootstrap_interval(correct, probe.bootstrap)
    found = {"top1": float(correct.mean()), "low": low, "high": high}
    found |= scores.beside_top1(out, truth, probe.bootstrap)
    rows.append({"protocol": name, **found, **common, **option})
  return rows


def table(rows: list[Row]) -> str:
  """The rows as aligned text, one encoder a column."""
  encoders = list(dict.fromkeys(row["encoder"] for row in rows))
  cells = {
    (row["label_set"], row["protocol"], row["encoder"]): row for row in rows
  }
  lines = [f"{'top-1, %':24s}" + "".join(f"{e:>22s}" for e in encoders)]
  for label_set, protocol in dict.fromkeys((k[0], k[1]) for k in cells):
    line = f"{label_set + ' ' + protocol:24s}"
    for encoder in encoders:
      row = cells.get((label_set, protocol, encoder))
      line += f"{_cell(row) if row else '-':>22s}"
    lines.append(line)
  return "\n".join(lines)


def _cell(row: Row) -> str:
  top1, low, high = (100 * row[name] for name in ("top1", "low", "high"))
  return f"{top1:.1f} [{low:.1f}, {high:.1f}]"


def write(workdir: str | os.PathLike, content: dict[str, Any]) -> None:
  """Stores results.json in the workdir, whole or not at all."""
  path = workdir_lib.path(workdir) / RESULTS
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_whole(path, json.dumps(content, indent=1) + "\n")
