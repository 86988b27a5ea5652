"""Assignments over clips, and pictures of them."""

import jax
import numpy as np
import pytest

from sigma_jax.models import sigma
from sigma_jax.report import pictures, tubes


@pytest.fixture(scope="module")
def found(tiny_config):
  settings = tiny_config("nowhere")
  params = sigma.init_params(settings, jax.random.key(0))
  videos = np.random.default_rng(0).integers(
    0, 256, (5, 8, 16, 16, 3), np.uint8
  )
  videos[3, :, 8:, 8:] = videos[1, :, :8, :8]
  return tubes.assign(settings, params, videos)


def test_shapes_and_shares(found):
  assert found.labels.shape == (5, 16)
  assert found.best.shape == found.where.shape == (5, 6)
  assert found.usage().sum() == pytest.approx(1)


def test_closest_tubes_are_of_different_clips_in_order(found):
  closest = found.closest(2, 4)
  clips = [clip for clip, _, _ in closest]
  cosines = [cosine for _, _, cosine in closest]
  assert len(set(clips)) == 4
  assert cosines == sorted(cosines, reverse=True)


def test_equal_tubes_score_equally(found):
  pairs = {(1, t * 4, t * 4 + 3) for t in range(4)}
  for clip, here, there in pairs:
    assert found.labels[clip, here] == found.labels[3, there]


def test_colours_are_distinct_and_close_for_close_prototypes():
  angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
  ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  found = tubes.colours(ring.astype(np.float32))
  hues = np.array([float(c.split("(")[1].split()[0]) for c in found])
  assert len(set(hues)) == 24
  steps = np.abs(np.diff(np.append(hues, hues[0]))) % 360
  assert np.minimum(steps, 360 - steps).max() <= 16


def test_tile_shows_the_tube_in_the_middle():
  video = np.zeros((8, 16, 16, 3), np.uint8)
  text = pictures.tile(video, (4, 2, 2), 15, 2, 'a "note"')
  assert 'style="inset:25.00%"' in text
  assert "&quot;note&quot;" in text


def test_big_frames_are_shrunk():
  image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
  uri = pictures.data_uri(image)
  assert uri.startswith("data:image/jpeg;base64,")
  assert len(uri) < 20_000
  assert pictures.slots((8, 2, 2)) == list(range(8))
  assert len(pictures.slots((16, 2, 2))) == 8
