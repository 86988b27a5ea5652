"""Unsupervised segmentation of one clip by k-means on dense features.

TimeTuning's protocol (https://arxiv.org/abs/2308.11796), a clip at a time:
features standardised, reduced by PCA, brought to the masks' size bilinearly,
clustered, and the clusters matched to the labels. docs/EVALUATION.md says what
was assumed and where it differs from the published code.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.evaluate.segmentation import kmeans, matching, pca
from sigma_jax.models import resample

PROTOCOLS = ("clustering", "overclustering")


class Segments(NamedTuple):
  """A clip under one protocol.

  iou: float by label id, of every id present. clusters: uint8 [t, h, w].
  labels: uint8 [t, h, w], each cluster as the id it was matched to.
  """

  iou: dict[int, float]
  clusters: np.ndarray
  labels: np.ndarray

  @property
  def mean_iou(self) -> float:
    """Over the ids present, background among them."""
    return float(np.mean(list(self.iou.values())))


def segment(
  maps: jax.Array,
  masks: np.ndarray,
  scored: np.ndarray,
  options: settings_lib.Segmentation,
  seed: int,
) -> dict[str, Segments]:
  """Both protocols on one clip.

  Args:
    maps: float32 [s, rows, columns, d]; s divides t.
    masks: uint8 [t, h, h], label ids; 0 is the background.
    scored: bool [t], the frames that count.
    options: of the protocols.
    seed: of k-means.

  Returns:
    Segments by protocol. Each map serves t / s frames.
  """
  points = _points(maps, masks.shape[1], options.components)
  ids = np.unique(masks[scored])
  found = {}
  for protocol, k in zip(PROTOCOLS, (len(ids), options.clusters), strict=True):
    clusters = kmeans.fit(
      points,
      jax.random.key(seed),
      k=k,
      iterations=options.iterations,
      restarts=options.restarts,
    ).labels
    shape = (len(maps), *masks.shape[1:])
    clusters = np.asarray(clusters).astype(np.uint8).reshape(shape)
    clusters = np.repeat(clusters, len(masks) // len(maps), axis=0)
    found[protocol] = score(protocol, clusters, masks, scored, k)
  return found


def score(
  protocol: str,
  clusters: np.ndarray,
  masks: np.ndarray,
  scored: np.ndarray,
  k: int,
) -> Segments:
  """Matches clusters to labels, and measures what comes of it.

  Args:
    protocol: of PROTOCOLS.
    clusters: uint8 [t, h, w] in [0, k).
    masks: uint8 [t, h, w], label ids.
    scored: bool [t], the frames that count; at least one.
    k: clusters.
  """
  ids = np.unique(masks[scored])
  truth = np.searchsorted(ids, masks[scored])
  counts = matching.overlaps(clusters[scored], truth, k, len(ids))
  background = 0 if ids[0] == 0 else matching.NO_CLASS
  match = matching.one_to_one
  if protocol == "overclustering":
    match = matching.many_to_one
  classes = match(counts, background)
  found = matching.iou(counts, classes)
  id_of = np.where(classes == matching.NO_CLASS, 0, ids[classes])
  iou = {int(i): float(v) for i, v in zip(ids, found, strict=True)}
  return Segments(iou, clusters, id_of.astype(np.uint8)[clusters])


@functools.partial(jax.jit, static_argnames=("size", "components"))
def _points(maps: jax.Array, size: int, components: int) -> jax.Array:
  """float32 [s, rows, columns, d] -> [s * size * size, components]."""
  slots, rows, columns, dim = maps.shape
  tokens = pca.standardize(maps.reshape(-1, dim))
  tokens = pca.project(tokens, components)
  dense = resample.resize(
    tokens.reshape(slots, rows, columns, -1),
    resample.matrix(rows, size, "linear"),
    resample.matrix(columns, size, "linear"),
  )
  return dense.reshape(-1, dense.shape[-1])
