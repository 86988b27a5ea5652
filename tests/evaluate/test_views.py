"""Views combined, by hand, and each view alone."""

import numpy as np
import pytest

from sigma_jax.evaluate import views

VALUES = np.asarray([[1, 0], [0, 6], [2, 3], [5, 0], [0, 3]], np.float32)
ROWS = np.asarray([7, 2, 7, 7, 2])


@pytest.mark.parametrize(
  ("how", "wanted"),
  [("mean", [[0, 4.5], [8 / 3, 1]]), ("max", [[0, 6], [5, 3]])],
)
def test_combined_by_hand(how, wanted):
  videos, values = views.combine_views(VALUES, ROWS, how)
  np.testing.assert_array_equal(videos, [2, 7])
  np.testing.assert_allclose(values, wanted)
  order = np.random.default_rng(0).permutation(5)
  again, same = views.combine_views(VALUES[order], ROWS[order], how)
  np.testing.assert_array_equal(again, videos)
  np.testing.assert_allclose(same, values, rtol=1e-15)


def test_one_view_is_itself():
  videos, values = views.combine_views(VALUES, np.asarray([4, 3, 2, 1, 0]))
  np.testing.assert_array_equal(videos, range(5))
  np.testing.assert_array_equal(values, VALUES[::-1])


def test_what_cannot_be_combined():
  with pytest.raises(ValueError, match="'median'"):
    views.combine_views(VALUES, ROWS, "median")
  with pytest.raises(ValueError, match="no clip could be read"):
    views.combine_views(VALUES[:0], ROWS[:0])
  with pytest.raises(ValueError, match="no clip could be read"):
    views.view_spread(VALUES[:0], ROWS[:0], ROWS[:0], ROWS)


def test_each_view_alone():
  """Of videos 0 and 3: view 0 is right on both, 1 on one, 2 on its only one."""
  labels = np.asarray([1, -1, -1, 0])
  rows = np.asarray([0, 0, 3, 3, 3])
  number = np.asarray([0, 1, 0, 1, 2])
  right, wrong = [0.3, 0.7], [0.7, 0.3]
  values = np.asarray([right, wrong, wrong, wrong, wrong])
  found = views.view_spread(values, rows, number, labels)
  assert found["view_top1"] == [1.0, 0.5, 1.0]
  assert (found["least"], found["greatest"]) == (0.5, 1.0)
  assert found["deviation"] == pytest.approx(np.sqrt(1 / 18))
