"""Boxes lie in the frame and follow the distributions that papers state."""

import collections
import math

import numpy as np
import pytest

from sigma_jax.data import crops


def test_multiscale_boxes():
  rng = np.random.default_rng(0)
  scales = (1.0, 0.875, 0.75, 0.66)
  boxes = [crops.multiscale(340, 256, 224, scales, rng) for _ in range(4000)]
  sides = [256, 224, 192, 168]
  pairs = {(w, h) for _, _, w, h in boxes}
  assert pairs == {
    (sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1
  }
  for x, y, w, h in boxes:
    assert 0 <= x <= 340 - w and 0 <= y <= 256 - h
  places = collections.Counter(b[:2] for b in boxes if b[2:] == (168, 168))
  assert len(places) == 13
  assert (172, 88) in places and (86, 44) in places and (43, 22) in places


def test_sides_near_the_input_take_its_size():
  rng = np.random.default_rng(0)
  box = crops.multiscale(300, 226, 224, (1.0,), rng)
  assert box[2:] == (224, 224)
  # Never larger than the video.
  box = crops.multiscale(300, 222, 224, (1.0,), rng)
  assert box[2:] == (222, 222)


def test_squares():
  assert crops.square(340, 256) == (42, 0, 256, 256)
  assert crops.square(3, 8) == (0, 2, 3, 3)
  assert [crops.square(340, 256, view, 3) for view in range(3)] == [
    (0, 0, 256, 256),
    (42, 0, 256, 256),
    (84, 0, 256, 256),
  ]
  assert [crops.square(3, 8, view, 3)[1] for view in range(3)] == [0, 2, 5]


def test_random_resized_boxes():
  rng = np.random.default_rng(0)
  boxes = [crops.random_resized(640, 480, 0.08, rng) for _ in range(4000)]
  for x, y, w, h in boxes:
    assert 0 <= x <= 640 - w and 0 <= y <= 480 - h
    assert 0.74 < w / h < 1.35
  areas = np.array([w * h for _, _, w, h in boxes]) / (640 * 480)
  ratios = np.log([w / h for _, _, w, h in boxes])
  assert 0.08 <= areas.min() < 0.1 and areas.max() > 0.95
  # Small boxes always fit: there both are uniform.
  small = ratios[areas < 0.5] / math.log(4 / 3)
  assert abs(small.mean()) < 0.05 and abs(small.std() - 3**-0.5) < 0.02
  assert abs((areas < 0.2).mean() / (areas < 0.4).mean() - 12 / 32) < 0.04
  left = np.array([x / (640 - w) for x, _, w, _ in boxes if w < 600])
  assert abs(left.mean() - 0.5) < 0.02 and left.std() > 0.27


@pytest.mark.parametrize(
  ("size", "box"),
  [
    ((1000, 30), (480, 0, 40, 30)),
    ((30, 1000), (0, 480, 30, 40)),
    ((1, 1), (0, 0, 1, 1)),
  ],
)
def test_boxes_that_never_fit_end_in_the_centre(size, box):
  rng = np.random.default_rng(0)
  assert crops.random_resized(*size, 1.0, rng) == box
