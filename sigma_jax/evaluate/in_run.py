"""The quick evaluation of an encoder that is still being trained.

As `frozen`, but made to be repeated: one clip of each video, kNN and a linear
map in closed form, no intervals. What it gives is a plain number a protocol and
label set, the same on any number of hosts.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features, knn, ridge, scores
from sigma_jax.train import preemption

# Clips of each host that are kept between evaluations, in bytes: toys are read
# once, large clips every time.
KEPT = 2**28

Batch = dict[str, np.ndarray]
_READ = ("video", "index", "valid")


class Split(NamedTuple):
  """Labelled clips.

  Attributes:
    name: for messages.
    open: opens this process's batches, as `features.extract` takes them; each
      process has equally many.
    labels: label set -> int [n], indexed by row.
  """

  name: str
  open: Callable[[], contextlib.AbstractContextManager[Iterator[Batch]]]
  labels: dict[str, np.ndarray]


class Scorer:
  """Scores encoders of one run: a `train.judging.Score`."""

  def __init__(
    self,
    settings: settings_lib.Settings,
    mesh: jax.sharding.Mesh,
    train: Split,
    test: Split,
    num_classes: dict[str, int],
    kept: int = KEPT,
  ):
    """num_classes: of each label set. kept: bytes of a split, see `KEPT`."""
    self._settings, self._mesh = settings, mesh
    self._splits = train, test
    self._num_classes = num_classes
    self._limit = kept
    self._kept: dict[str, list[Batch]] = {}

  def __call__(self, encoder: dict[str, Any]) -> dict[str, float]:
    """Accuracies of the encoder, whose parameters every device has.

    Returns:
      knn, linear and chance (of the most frequent training class), shares in
      [0, 1]: means over the label sets, and with several sets each one's, such
      as knn_motion. num_train and num_test, clips that could be read.

    Raises:
      Preempted: the run was asked to stop.
      RunStopped: no clip could be read.
    """
    train, test = (self._features(encoder, split) for split in self._splits)
    x, queries = features.standardize(train.features, test.features)
    found: dict[str, dict[str, float]] = {}
    for name, count in self._num_classes.items():
      y, truth = (
        split.labels[name][part.rows]
        for split, part in zip(self._splits, (train, test), strict=True)
      )
      found[name] = self._accuracies(x, y, queries, truth, count)
    sizes = {"num_train": len(x), "num_test": len(queries)}
    return _flat(found) | sizes

  def _accuracies(self, x, y, queries, truth, count: int) -> dict[str, float]:
    k = self._settings.evaluate.knn_k
    votes = knn.predict(
      *(x, y, queries),
      num_classes=count,
      k=k,
      temperature=self._settings.probe.knn_temperature,
    )
    fitted, _ = ridge.predict(x, y, queries, num_classes=count)
    return {
      "knn": float(scores.top1(votes, truth).mean()),
      "linear": float(scores.top1(fitted, truth).mean()),
      "chance": float(np.mean(truth == np.bincount(y).argmax())),
    }

  def _features(self, encoder, split: Split) -> features.FeatureSet:
    with contextlib.ExitStack() as stack:
      batches = self._kept.get(split.name)
      if batches is None:
        batches = self._keeping(split.name, stack.enter_context(split.open()))
      found = features.extract(
        self._settings, {"": encoder}, _stoppable(batches), self._mesh
      )[""]
    if not len(found.rows):
      raise errors.RunStopped(
        f"no clip of {split.name} could be read for the evaluation in the run"
      )
    if not np.isfinite(found.features).all():
      raise errors.RunStopped(
        "the encoder's features are not finite in the evaluation in the run"
      )
    return found

  def _keeping(self, name: str, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; keeps them for the next time if they are small enough."""
    kept: list[Batch] | None = []
    size = 0
    for batch in batches:
      if kept is not None:
        size += batch["video"].nbytes
        kept.append({part: batch[part] for part in _READ})
        kept = kept if size <= self._limit else None
      yield batch
    if kept is not None:
      self._kept[name] = kept


def _stoppable(batches) -> Iterator[Batch]:
  """Batches, of which each is a place to stop."""
  for batch in batches:
    preemption.poll(" within an evaluation; what was trained is saved")
    yield batch


def _flat(found: dict[str, dict[str, float]]) -> dict[str, float]:
  """Means over the label sets, and each one's where there are several."""
  parts = ("knn", "linear", "chance")
  flat = {
    part: float(np.mean([of[part] for of in found.values()])) for part in parts
  }
  if len(found) > 1:
    flat |= {
      f"{part}_{name}": of[part] for name, of in found.items() for part in parts
    }
  return flat
