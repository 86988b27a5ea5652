"""Accuracy, average precision and counting errors, with their uncertainty."""

import numpy as np

_DRAWS = 50  # resamples weighed at once: bounds the memory


def top1(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Whether each clip is right: `top_k` of 1."""
  return top_k(probabilities, labels, 1)


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
  """Whether the label is among the k most probable classes.

  If classes tie, the one with the lower index counts as more probable, as in
  argmax. So a predictor that gives all classes the same gets the share of the
  first k of them, and at most k classes are right for any clip.

  Args:
    probabilities: float [n, c], or any score that grows with them; -inf: a
      class that was not named at all, which is never among the k.
    labels: int [n], in [0, c).
    k: at least 1; from c on every clip is right, if its class was named.

  Returns:
    bool [n].

  Raises:
    ValueError: a label is out of range, or a probability is not a number.
  """
  if np.isnan(probabilities).any():
    raise ValueError("there are predictions that are not numbers (NaN)")
  _check_classes(labels, probabilities.shape[1])
  own = np.take_along_axis(probabilities, labels[:, None], axis=1)
  earlier = np.arange(probabilities.shape[1]) < labels[:, None]
  ahead = (probabilities > own) | ((probabilities == own) & earlier)
  return (ahead.sum(axis=1) < k) & (own[:, 0] > -np.inf)


def mean_per_class(correct: np.ndarray, labels: np.ndarray) -> float:
  """Mean over the classes present of the share of their clips that is right.

  Args:
    correct: bool [n].
    labels: int [n], from 0 up.
  """
  once = np.ones((1, len(labels)))
  return float(_weighted_per_class(once, correct, labels)[0])


def beside_top1(
  probabilities: np.ndarray, labels: np.ndarray, resamples: int
) -> dict[str, float | None]:
  """Further figures of a classifier, beside its top-1.

  Args:
    probabilities: float [n, c].
    labels: int [n].
    resamples: of the bootstrap.

  Returns:
    top5 (None up to 5 classes, of which any five are right), mean_per_class,
    mean_per_class_low and mean_per_class_high (95% interval); in [0, 1].
  """
  correct = top1(probabilities, labels)
  several = probabilities.shape[1] > 5
  low, high = bootstrap_mean_per_class(correct, labels, resamples)
  return {
    "top5": float(top_k(probabilities, labels, 5).mean()) if several else None,
    "mean_per_class": mean_per_class(correct, labels),
    "mean_per_class_low": low,
    "mean_per_class_high": high,
  }


def confusion(
  probabilities: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
  """How often each class is taken for each: int64 [c, c], truth x predicted.

  Args:
    probabilities: float [n, c]; of classes that tie, the first is predicted.
    labels: int [n].
    num_classes: c.

  Raises:
    ValueError: a label is out of range.
  """
  _check_classes(labels, num_classes)
  pairs = labels.astype(np.int64) * num_classes + probabilities.argmax(axis=1)
  counts = np.bincount(pairs, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Area under the precision-recall steps of each class.

  Sum over the distinct scores, from the top, of the gain in recall times the
  precision there: rows that tie enter together, so their order is of no
  importance (as sklearn.metrics.average_precision_score).

  Args:
    scores: float [n, c].
    targets: bool [n, c].

  Returns:
    float64 [c] in [0, 1]; NaN for classes without positives.

  Raises:
    ValueError: a score is not a number.
  """
  return _weighted_precision(np.ones((1, len(scores))), scores, targets)[0]


def mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
  """Mean of `average_precision` over the classes with positives.

  Raises:
    ValueError: no class has any.
  """
  _check_positives(targets)
  return float(np.nanmean(average_precision(scores, targets)))


def repetition_errors(
  predicted: np.ndarray, counts: np.ndarray, *, rounded: bool = True
) -> tuple[np.ndarray, np.ndarray]:
  """How far counts of repetitions are off, clip by clip.

  Args:
    predicted: float [m].
    counts: [m], the truth, above 0.
    rounded: to whole counts first, halves to the even one, as SEVERE's code
      does before both figures (`val_2stream.py`, which is that of
      https://github.com/Xiaodomgdomg/Deep-Temporal-Repetition-Counting).

  Returns:
    |predicted - count| / count, float64 [m], and whether it is off by at most
    one, bool [m].

  Raises:
    ValueError: a count is not above 0.
  """
  counts = np.asarray(counts, np.float64)
  if not (counts > 0).all():
    row = int(np.flatnonzero(~(counts > 0))[0])
    raise ValueError(
      f"row {row} has {counts[row]:g} repetitions; an error relative to them "
      "needs at least one"
    )
  predicted = np.asarray(predicted, np.float64)
  off = np.abs((np.rint(predicted) if rounded else predicted) - counts)
  return off / counts, off <= 1


def bootstrap_interval(
  correct: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, float]:
  """95% interval of the mean, resampling clips.

  Args:
    correct: bool [n].
    resamples: draws of n clips with replacement.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  # The number of right clips in a resample is binomial; no need to draw rows.
  means = rng.binomial(len(correct), correct.mean(), resamples) / len(correct)
  return _percentiles(means)


def bootstrap_mean(
  values: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, float]:
  """As `bootstrap_interval`, of one number a clip: float [n]."""
  rng = np.random.default_rng(seed)
  draws = rng.integers(0, len(values), (resamples, len(values)))
  return _percentiles(values[draws].mean(axis=1))


def bootstrap_mean_per_class(
  correct: np.ndarray, labels: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, float]:
  """As `bootstrap_interval`, of `mean_per_class`.

  A class that a resample leaves out does not count in it.
  """
  means = [
    _weighted_per_class(weights, correct, labels)
    for weights in _draws(len(labels), resamples, seed)
  ]
  return _percentiles(np.concatenate(means))


def bootstrap_mean_average_precision(
  scores: np.ndarray, targets: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, float]:
  """As `bootstrap_interval`, of `mean_average_precision`, resampling rows.

  A positive that a resample holds twice lifts its own precision, so resamples
  score higher than the sample: the percentiles are moved back by the mean of
  that difference. Classes without positives in a resample, and resamples
  without any, do not count.
  """
  found = mean_average_precision(scores, targets)
  means = []
  for weights in _draws(len(scores), resamples, seed):
    values = _weighted_precision(weights, scores, targets)
    some = ~np.isnan(values).all(axis=1)
    means.append(np.nanmean(values[some], axis=1))
  everything = np.concatenate(means)
  if not len(everything):  # one positive, and few draws: nothing is known
    return 0.0, 1.0
  low, high = _percentiles(everything - everything.mean() + found)
  return max(low, 0.0), min(high, 1.0)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
  low, high = np.percentile(values, [2.5, 97.5])
  return float(low), float(high)


def _draws(n: int, resamples: int, seed: int):
  """How often each of n rows is in each resample: float64 [b, n] at a time."""
  rng = np.random.default_rng(seed)
  for start in range(0, resamples, _DRAWS):
    size = min(_DRAWS, resamples - start)
    yield rng.multinomial(n, np.full(n, 1 / n), size).astype(np.float64)


def _weighted_per_class(weights, correct, labels) -> np.ndarray:
  """`mean_per_class` where row i counts weights[b, i] times: float64 [b]."""
  _, classes = np.unique(labels, return_inverse=True)
  one_hot = np.eye(classes.max() + 1)[classes]
  total, right = weights @ one_hot, (weights * correct) @ one_hot
  accuracy = np.divide(right, total, where=total > 0, out=np.zeros_like(right))
  return accuracy.sum(axis=1) / (total > 0).sum(axis=1)


def _weighted_precision(weights, scores, targets) -> np.ndarray:
  """`average_precision` where row i counts weights[b, i] times: [b, c]."""
  if np.isnan(scores).any():
    raise ValueError("there are scores that are not numbers (NaN)")
  out = np.full((len(weights), scores.shape[1]), np.nan)
  for column in np.flatnonzero(targets.any(axis=0)):
    order = np.argsort(-scores[:, column], kind="stable")
    falling, hit = -scores[order, column], targets[order, column]
    # Every row is given the precision at the last of the rows it ties with.
    last = np.searchsorted(falling, falling[hit], side="right") - 1
    ordered = weights[:, order]
    seen = ordered.cumsum(axis=1)[:, last]
    found = (ordered * hit).cumsum(axis=1)[:, last]
    positives = ordered[:, hit]
    # Where nothing has been seen the row itself counts zero times.
    gained = positives * found / np.maximum(seen, 1)
    total = positives.sum(axis=1)
    some = total > 0
    out[some, column] = gained[some].sum(axis=1) / total[some]
  return out


def _check_classes(labels: np.ndarray, num_classes: int) -> None:
  if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
    raise ValueError(
      f"labels from {labels.min()} to {labels.max()} do not fit "
      f"{num_classes} classes"
    )


def _check_positives(targets: np.ndarray) -> None:
  if not targets.any():
    raise ValueError("no class has a positive; there is no average precision")
