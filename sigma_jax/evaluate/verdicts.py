"""From predictions of clips to the figures of a task, with their intervals."""

from typing import Any

import numpy as np

from sigma_jax.evaluate import scores, views
from sigma_jax.evaluate.predictions import Predictions

Row = dict[str, Any]
# What each kind of target is judged by: the metric that a table shows.
METRIC = {"classes": "top1", "multilabel": "map", "count": "error"}


def judge(
  targets: str,
  found: Predictions,
  head: int,
  videos: np.ndarray,
  truth: np.ndarray,
  resamples: int,
) -> Row:
  """The figures of one head.

  Args:
    targets: of `settings.Supervised`.
    found: of all rows of a split.
    head: which of its heads.
    videos: int [n], the video that each row is of.
    truth: what is right, indexed by video: int classes, bool [m, c] or float
      counts.
    resamples: of the bootstrap over videos.

  Returns:
    Plain values. Always num_test (videos), num_clips, low and high (the 95%
    interval of the first metric). classes: top1, top5 (None up to 5 classes, of
    which any five are right), mean_per_class with its own mean_per_class_low
    and _high, chance (the share of the most frequent class among the test
    videos) and the spread over views. multilabel: map. count: error and
    off_by_one, of rounded counts as published, and both with _unrounded behind
    their names.

  Raises:
    ValueError: no clip could be read.
  """
  values = found.values[head]
  if targets == "count":
    return _counts(values, found.rows, videos, truth, resamples)
  of_video = videos[found.rows]
  how = "max" if targets == "multilabel" else "mean"
  judged, joined = views.combine_views(values, of_video, how)
  size = {"num_test": len(judged), "num_clips": len(values)}
  wanted = truth[judged]
  if targets == "multilabel":
    low, high = scores.bootstrap_mean_average_precision(
      joined, wanted, resamples
    )
    value = scores.mean_average_precision(joined, wanted)
    return {"map": value, "low": low, "high": high, **size}
  correct = scores.top1(joined, wanted)
  low, high = scores.bootstrap_interval(correct, resamples)
  spread = views.view_spread(values, of_video, found.views, truth)
  return {
    "top1": float(correct.mean()),
    "low": low,
    "high": high,
    **scores.beside_top1(joined, wanted, resamples),
    "chance": float(np.bincount(wanted).max() / len(wanted)),
    **size,
    **spread,
  }


def better(targets: str, row: Row, than: Row) -> bool:
  """Whether a head's figures beat another's."""
  metric = METRIC[targets]
  if targets == "count":
    return row[metric] < than[metric]
  return row[metric] > than[metric]


def confusion(
  found: Predictions, head: int, videos: np.ndarray, truth: np.ndarray, classes
) -> np.ndarray:
  """int64 [c, c], truth x predicted, views averaged."""
  judged, joined = views.combine_views(
    found.values[head], videos[found.rows], "mean"
  )
  return scores.confusion(joined, truth[judged], len(classes))


def _counts(values, rows, videos, truth, resamples) -> Row:
  """A video's count is the sum over its windows; all have to be there."""
  windows = np.bincount(videos, minlength=len(truth))
  read = np.bincount(videos[rows], minlength=len(truth))
  sums = np.bincount(
    videos[rows], weights=values[:, 0].astype(np.float64), minlength=len(truth)
  )
  judged = np.flatnonzero((read == windows) & (windows > 0))
  if not len(judged):
    raise ValueError("no video could be read to its end")
  sums, truth = sums[judged], truth[judged]
  relative, near = scores.repetition_errors(sums, truth)
  exact, close = scores.repetition_errors(sums, truth, rounded=False)
  low, high = scores.bootstrap_mean(relative, resamples)
  return {
    "error": float(relative.mean()),
    "low": low,
    "high": high,
    "off_by_one": float(near.mean()),
    "error_unrounded": float(exact.mean()),
    "off_by_one_unrounded": float(close.mean()),
    "num_test": len(judged),
    "num_clips": len(values),
  }
