"""Which class a cluster stands for, and how well the classes are then met.

The two protocols of TimeTuning (https://arxiv.org/abs/2308.11796): one cluster
a class by Hungarian matching, and many clusters a class by precision.
"""

import numpy as np
from scipy import optimize

NO_CLASS = -1  # a cluster that stands for none of the classes present


def overlaps(
  clusters: np.ndarray, truth: np.ndarray, num_clusters: int, num_classes: int
) -> np.ndarray:
  """Pixels of each cluster in each class.

  Args:
    clusters: int [...] in [0, num_clusters).
    truth: int [...] in [0, num_classes).
    num_clusters: k.
    num_classes: c.

  Returns:
    int64 [k, c].
  """
  pairs = clusters.astype(np.int64) * num_classes + truth
  counts = np.bincount(pairs.ravel(), minlength=num_clusters * num_classes)
  return counts.reshape(num_clusters, num_classes)


def one_to_one(counts: np.ndarray, background: int = NO_CLASS) -> np.ndarray:
  """Hungarian matching of clusters and classes, of the largest summed IoU.

  Args:
    counts: int [k, c], see `overlaps`.
    background: class of the clusters that are left without a partner.

  Returns:
    int64 [k], the class of each cluster.
  """
  union = counts.sum(1, keepdims=True) + counts.sum(0, keepdims=True) - counts
  similarity = counts / np.maximum(union, 1)
  rows, columns = optimize.linear_sum_assignment(similarity, maximize=True)
  classes = np.full(len(counts), background, np.int64)
  classes[rows] = columns
  return classes


def many_to_one(counts: np.ndarray, background: int = NO_CLASS) -> np.ndarray:
  """Each cluster's class of highest precision: that of most of its pixels.

  Args:
    counts: int [k, c], see `overlaps`.
    background: class of clusters without pixels.

  Returns:
    int64 [k]; of classes that tie, the first.
  """
  return np.where(counts.sum(1) > 0, counts.argmax(1), background)


def iou(counts: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """Intersection over union of every class with its clusters together.

  Args:
    counts: int [k, c], see `overlaps`; every class has pixels.
    classes: int [k], the class of each cluster or NO_CLASS.

  Returns:
    float64 [c], in [0, 1].
  """
  chosen = classes[:, None] == np.arange(counts.shape[1])
  shared = (counts * chosen).sum(0)
  predicted = (counts.sum(1, keepdims=True) * chosen).sum(0)
  return shared / (predicted + counts.sum(0) - shared)
