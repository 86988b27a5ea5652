"""What motion-guided masks were chosen by, as the report draws it."""

import re
import types

import jax
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.methods import method
from sigma_jax.report import clips as clips_lib
from sigma_jax.report import picture_sections, pictures


@pytest.fixture(scope="module")
def clips():
  """Noise that goes right by a quarter of a tube a frame: 8 frames of 32 px."""
  noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
  return np.stack([noise[16:48, 30 - 2 * t : 62 - 2 * t] for t in range(8)])[
    None
  ]


def run(**masking):
  return method.of(
    settings_lib.Settings(
      data=settings_lib.Data(num_frames=8, size=32),
      model=settings_lib.Model(patch=8),
      masking=settings_lib.Masking(ratio=0.75, **masking),
    )
  )


@pytest.mark.parametrize("direction", ["corrected", "published"])
def test_motion_is_shown_forward_in_time(clips, direction):
  key = jax.random.key(0)
  ours = run(kind="motion", direction=direction)
  motion, held = ours.guides(key, clips).values()
  assert motion.shape == (1, 4, 4, 4, 2)
  middle = motion[0, :, 1:3, 1:3]
  np.testing.assert_allclose(middle[..., 0], 0.25, atol=0.03)
  np.testing.assert_allclose(middle[..., 1], 0, atol=0.03)
  assert held.shape == (1, 4, 4, 4)
  assert held.max() == pytest.approx(1)
  # What is visible holds the most of the map, slot by slot.
  seen = ~ours.hidden(key, clips)[0]
  for slot, shares in zip(seen, held[0], strict=True):
    assert shares[slot].min() >= shares[~slot].max()


def test_other_masks_go_by_nothing(clips):
  assert run(kind="tube").guides(jax.random.key(0), clips) == {}


def test_arrows_begin_in_the_middle_of_their_tube():
  motion = np.zeros((2, 3, 2))
  motion[1, 2] = [0.5, -0.25]
  drawn = pictures.arrows(motion)
  assert re.findall(r'd="([^"]*)"', drawn) == [
    "M2.5 1.5l0.50 -0.25",
    "M2.5 1.5h0",
  ]


def test_shares_are_opacities():
  drawn = pictures.held(np.array([[0.0, 0.5], [1.0, 0.004]]))
  assert re.findall(r'opacity="([^"]*)" d="M(\d) (\d)', drawn) == [
    ("0.50", "1", "0"),
    ("1.00", "0", "1"),
  ]


def test_the_page_shows_them_between_clip_and_mask(clips):
  ours = run(kind="motion")
  shown = clips_lib.Clips(clips, ["a"], [""])
  page = picture_sections.masks(
    types.SimpleNamespace(settings=ours.settings, method=ours), shown
  )
  assert page.index('class="arrow"') < page.index('class="held"')
  assert page.index('class="held"') < page.index('class="hole"')
  assert "chosen by: the motion found, then the map that goes" in page
