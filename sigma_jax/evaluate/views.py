"""Several views of a video: one prediction of them, and how they differ."""

from typing import Any

import numpy as np

from sigma_jax.evaluate import scores


def combine_views(
  values: np.ndarray, rows: np.ndarray, how: str = "mean"
) -> tuple[np.ndarray, np.ndarray]:
  """One prediction a video.

  Args:
    values: float [r, c], a view each: probabilities or scores.
    rows: int [r], the video of each view, in any order. Videos may have
      different numbers of views.
    how: "mean" or "max", over a video's views.

  Returns:
    The videos int [n], ascending, and float64 [n, c].

  Raises:
    ValueError: there is no view, or `how` is neither.
  """
  if how not in ("mean", "max"):
    raise ValueError(f"views are combined by mean or max, not {how!r}")
  if not len(rows):
    raise ValueError("there are no views: no clip could be read")
  order = np.argsort(rows, kind="stable")
  videos, first, counts = np.unique(
    rows[order], return_index=True, return_counts=True
  )
  ordered = values[order].astype(np.float64)
  if how == "max":
    return videos, np.maximum.reduceat(ordered, first, axis=0)
  return videos, np.add.reduceat(ordered, first, axis=0) / counts[:, None]


def view_spread(
  values: np.ndarray, rows: np.ndarray, views: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
  """Top-1 of each view alone, over the videos that have it.

  Args:
    values: float [r, c].
    rows: int [r], the video of each.
    views: int [r], which of its video's views each is.
    labels: int, indexed by `rows`.

  Returns:
    view_top1 (of each view, ascending), least, greatest and deviation (of the
    population); plain values, shares in [0, 1].

  Raises:
    ValueError: there is no view.
  """
  if not len(rows):
    raise ValueError("there are no views: no clip could be read")
  correct = scores.top1(values, labels[rows])
  alone = [float(correct[views == view].mean()) for view in np.unique(views)]
  return {
    "view_top1": alone,
    "least": min(alone),
    "greatest": max(alone),
    "deviation": float(np.std(alone)),
  }
