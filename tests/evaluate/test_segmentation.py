"""Segmentation of a clip: numbers by hand, and the steps by scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import cluster, decomposition, preprocessing

from sigma_jax import settings
from sigma_jax.evaluate.segmentation import clip, matching

OPTIONS = settings.Segmentation(components=4, clusters=6)


def score(protocol, clusters, masks, k, scored=None):
  clusters, masks = np.uint8([clusters]), np.uint8([masks])
  scored = np.array([True]) if scored is None else scored
  return clip.score(protocol, clusters, masks, scored, k)


def test_ids_need_not_be_consecutive():
  found = score("clustering", [[1, 1, 0, 0]], [[0, 0, 7, 7]], 2)
  assert found.iou == {0: 1.0, 7: 1.0} and found.mean_iou == 1
  assert found.labels.tolist() == [[[0, 0, 7, 7]]]
  assert found.clusters.tolist() == [[[1, 1, 0, 0]]]


def test_iou_by_hand():
  # Cluster 2 is two thirds of object 7; cluster 0 is background and the rest.
  masks = [[0, 0, 0, 7, 7, 7], [0, 0, 0, 0, 0, 0]]
  clusters = [[0, 0, 0, 2, 2, 0], [0, 0, 0, 0, 1, 1]]
  found = score("clustering", clusters, masks, 3)
  # 2 of 2 + 1; 7 + 2 unmatched of background, and one of the object in it.
  assert found.iou == pytest.approx({0: 9 / 10, 7: 2 / 3})
  over = score("overclustering", clusters, masks, 3)
  assert over.iou == found.iou
  assert over.mean_iou == pytest.approx((9 / 10 + 2 / 3) / 2)


def test_a_clip_without_background():
  found = score("clustering", [[0, 0, 1, 2]], [[3, 3, 5, 5]], 3)
  # The third cluster has no class: nothing is gained by it, nothing is lost.
  assert found.iou == pytest.approx({3: 1.0, 5: 0.5})
  assert found.labels.tolist() == [[[3, 3, 5, 0]]]


def test_only_frames_that_count_are_scored():
  masks = np.uint8([[[0, 4]], [[9, 9]]])
  clusters = np.uint8([[[1, 0]], [[1, 1]]])
  found = clip.score("clustering", clusters, masks, np.array([True, False]), 2)
  assert found.iou == {0: 1.0, 4: 1.0}
  assert found.labels.tolist() == [[[0, 4]], [[0, 0]]]


def a_clip(noise):
  """Two objects on a ground: maps [2, 4, 4, 6], masks [4, 4, 4]."""
  slots = np.zeros((2, 4, 4), np.uint8)
  slots[0, :2, :2], slots[1, 1:3, :2], slots[:, 3, 2:] = 1, 1, 5
  rng = np.random.default_rng(0)
  vectors = 3 * rng.normal(size=(6, 6))
  maps = vectors[slots] + noise * rng.normal(size=(*slots.shape, 6))
  return jnp.asarray(maps, jnp.float32), np.repeat(slots, 2, axis=0)


def test_objects_of_distinct_features_are_found():
  maps, masks = a_clip(noise=0.05)
  found = clip.segment(maps, masks, np.ones(4, bool), OPTIONS, seed=0)
  assert list(found) == list(clip.PROTOCOLS)
  for segments in found.values():
    assert segments.iou == {0: 1.0, 1: 1.0, 5: 1.0}
    np.testing.assert_array_equal(segments.labels, masks)
    # A tubelet's map serves its two frames.
    np.testing.assert_array_equal(
      segments.clusters[::2], segments.clusters[1::2]
    )
  assert len(np.unique(found["clustering"].clusters)) == 3
  assert len(np.unique(found["overclustering"].clusters)) == 6


def test_the_same_steps_by_scikit_learn():
  maps, _ = a_clip(noise=1.0)
  size, k = 32, 3
  tokens = preprocessing.StandardScaler().fit_transform(
    np.asarray(maps).reshape(-1, 6)
  )
  tokens = decomposition.PCA(4, svd_solver="full").fit_transform(tokens)
  dense = jax.image.resize(
    tokens.reshape(2, 4, 4, 4).astype(np.float32), (2, size, size, 4), "linear"
  )
  theirs = cluster.KMeans(k, n_init=20, random_state=0).fit(
    np.asarray(dense).reshape(-1, 4)
  )
  masks = np.zeros((2, size, size), np.uint8)
  masks[:, : size // 2, : size // 2] = 1
  masks[:, size // 2 :] = 2
  ours = clip.segment(maps, masks, np.ones(2, bool), OPTIONS, seed=0)
  counts = matching.overlaps(
    ours["clustering"].clusters, theirs.labels_.reshape(masks.shape), k, k
  )
  assert matching.iou(counts, matching.one_to_one(counts)).min() > 0.97


def test_the_seed_decides():
  maps, masks = a_clip(noise=3.0)
  options = settings.Segmentation(components=4, clusters=6, restarts=1)
  first, again, other = (
    clip.segment(maps, masks, np.ones(4, bool), options, seed)[
      "overclustering"
    ].clusters
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_a_clip_of_one_label():
  maps, _ = a_clip(noise=0.1)
  masks = np.full((4, 8, 8), 3, np.uint8)
  found = clip.segment(maps, masks, np.ones(4, bool), OPTIONS, seed=0)
  assert [s.iou for s in found.values()] == [{3: 1.0}, {3: 1.0}]
