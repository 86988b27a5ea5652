"""k-means by hand, by its definition and beside scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import cluster

from sigma_jax.evaluate.segmentation import kmeans

KEY = jax.random.key(0)


def blobs(n, d=6, centers=7, spread=1.0, offset=0.0):
  rng = np.random.default_rng(n)
  middle = rng.normal(size=(centers, d)) * 3
  points = middle[rng.integers(centers, size=n)]
  points = points + spread * rng.normal(size=(n, d)) + offset
  return points.astype(np.float32)


def squared_distances(points, centers):
  gaps = points[:, None].astype(np.float64) - np.asarray(centers)[None]
  return (gaps**2).sum(-1)


def test_by_hand():
  points = jnp.array([[0.0], [1.0], [10.0], [12.0]])
  found = kmeans.fit(points, KEY, k=2)
  assert sorted(np.asarray(found.centers).ravel()) == [0.5, 11.0]
  assert float(found.inertia) == pytest.approx(0.25 * 2 + 1 * 2)
  labels = np.asarray(found.labels)
  assert labels[0] == labels[1] != labels[2] == labels[3]


# More points than a tile holds and not a multiple of it; fewer than a tile.
@pytest.mark.parametrize("n", [20001, 500])
def test_it_is_what_it_says(n):
  points = blobs(n)
  found = kmeans.fit(points, KEY, k=5, restarts=3)
  distances = squared_distances(points, found.centers)
  labels = np.asarray(found.labels)
  np.testing.assert_array_equal(labels, distances.argmin(1))
  assert float(found.inertia) == pytest.approx(distances.min(1).sum(), rel=1e-4)
  assert np.isfinite(found.centers).all() and len(np.unique(labels)) == 5


@pytest.mark.parametrize(("n", "k"), [(20001, 10), (3000, 2), (3000, 7)])
def test_inertia_is_within_a_percent_of_scikit_learns(n, k):
  points = blobs(n, d=20, centers=12, spread=2.0)
  theirs = cluster.KMeans(k, n_init=5, max_iter=50, random_state=0).fit(points)
  found = kmeans.fit(points, KEY, k=k)
  assert float(found.inertia) < 1.01 * theirs.inertia_


def test_centers_are_means_once_nothing_changes():
  points = blobs(900)
  found = kmeans.fit(points, KEY, k=4, iterations=200)
  labels = np.asarray(found.labels)
  means = [points[labels == i].mean(0) for i in range(4)]
  np.testing.assert_allclose(found.centers, means, atol=1e-4)


def test_more_iterations_and_restarts_never_hurt():
  points = blobs(3000, spread=3.0)
  of_iterations = [
    float(kmeans.fit(points, KEY, k=9, iterations=i, restarts=1).inertia)
    for i in (1, 5, 50)
  ]
  assert of_iterations == sorted(of_iterations, reverse=True)
  assert of_iterations[0] > of_iterations[-1]


def test_a_shift_changes_no_label():
  """Far from the origin, squared norms swallow distances unless centred."""
  near = kmeans.fit(blobs(2000), KEY, k=5)
  far = kmeans.fit(blobs(2000, offset=1000.0), KEY, k=5)
  assert (np.asarray(near.labels) == np.asarray(far.labels)).mean() > 0.99
  assert float(far.inertia) == pytest.approx(float(near.inertia), rel=1e-2)


def test_the_key_decides():
  points = blobs(2000, spread=4.0)
  first, again, other = (
    kmeans.fit(points, jax.random.key(seed), k=8, restarts=1)
    for seed in (3, 3, 4)
  )
  np.testing.assert_array_equal(first.labels, again.labels)
  assert (np.asarray(first.labels) != np.asarray(other.labels)).any()


def test_fewer_distinct_points_than_clusters():
  points = jnp.array([[2.0, 0.0]] * 3 + [[5.0, 1.0]])
  found = kmeans.fit(points, KEY, k=3)
  assert float(found.inertia) == 0 and np.isfinite(found.centers).all()
  labels = np.asarray(found.labels)
  assert labels[0] == labels[1] == labels[2] != labels[3]


def test_a_single_point():
  found = kmeans.fit(jnp.array([[3.0]]), KEY, k=1)
  assert float(found.centers[0, 0]) == 3 and found.labels.tolist() == [0]


def test_an_empty_cluster_moves_to_the_farthest_point():
  tiles = kmeans._split(jnp.array([[0.0], [1.0], [9.0], [2.0]]))
  centers = jnp.array([[[0.0], [-50.0]], [[0.0], [8.0]]])  # two restarts
  after = np.asarray(kmeans._lloyd(tiles, centers))
  np.testing.assert_allclose(after[0, :, 0], [3.0, 9.0])
  np.testing.assert_allclose(after[1, :, 0], [1.0, 9.0])


def test_ties_go_to_the_lower_number():
  tiles = kmeans._split(jnp.array([[0.0], [1.0], [-1.0]]))
  centers = jnp.array([[[1.0], [-1.0]], [[-1.0], [1.0]]])
  labels, inertia = kmeans._assign(tiles, centers)
  assert labels[0].tolist() == [[0, 0, 1], [0, 1, 0]]
  assert inertia.tolist() == [1.0, 1.0]
