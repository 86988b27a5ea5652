"""Pictures of a segmentation: what is coloured, and where it stands."""

import io

import numpy as np
from PIL import Image

from sigma_jax.evaluate.segmentation import overlays

GREY = np.full((3, 20, 15, 3), 100, np.uint8)


def test_ids_are_coloured_and_zero_is_not():
  ids = np.zeros((3, 20, 15), np.uint8)
  ids[:, 0, 0], ids[:, 0, 1], ids[:, 0, 2] = 1, 2, 12
  painted = overlays.paint(GREY, ids)
  np.testing.assert_array_equal(painted[ids == 0], GREY[ids == 0])
  # .4 of the grey and .6 of the first colour, (230, 25, 75).
  assert painted[1, 0, 0].tolist() == [178, 55, 85]
  assert painted[1, 0, 1].tolist() != painted[1, 0, 0].tolist()
  assert painted[1, 0, 2].tolist() == painted[1, 0, 0].tolist()


def test_a_sheet_has_a_row_a_video_and_at_most_eight_frames():
  video = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones(
    (1, 40, 60, 3), np.uint8
  )
  png = overlays.sheet({"frames": video, "truth": 255 - video})
  image = np.asarray(Image.open(io.BytesIO(png)))
  assert image.shape == (80, 480, 3)
  columns = image[35, 30::60, 0].tolist()
  assert columns == [0, 2, 5, 8, 10, 13, 16, 19]
  assert image[75, 30::60, 0].tolist() == [255 - c for c in columns]
  assert (image[:14, :60] > 100).any()  # the title


def test_videos_stand_side_by_side_on_even_sides():
  frames = overlays.beside({"": GREY[:, :, :, :], " ": GREY // 2})
  assert frames.shape == (3, 20, 30, 3) and frames.dtype == np.uint8
  assert frames[2, 19, 7, 0] == 100 and frames[2, 19, 22, 0] == 50
  odd = overlays.beside({"": GREY[:, :19]})
  assert odd.shape == (3, 20, 16, 3)
