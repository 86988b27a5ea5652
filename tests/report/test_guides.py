"""What motion-guided masks were chosen by, as the report draws it."""

import re
import types

import jax
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.methods import method, mme
from sigma_jax.report import clips as clips_lib
from sigma_jax.report import page as page_lib
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


def test_masks_by_a_network_whose_weights_are_gone():
  """A note that names the file, and the page goes on."""
  ours = method.of(
    settings_lib.Settings(
      data=settings_lib.Data(num_frames=8, size=128),
      masking=settings_lib.Masking(
        kind="motion", flow="raft_small", flow_weights="gone.pth"
      ),
    )
  )
  shown = clips_lib.Clips(np.zeros((1, 8, 128, 128, 3), "u1"), ["a"], [""])
  run = types.SimpleNamespace(
    settings=ours.settings, method=ours, workdir="runs/a"
  )
  note = page_lib.masks(run, shown)
  assert "No masks to show: masking.flow_weights: no file" in note
  assert "gone.pth" in note
  assert "python -m sigma_jax.report runs/a" in note


def test_prototypes_are_missed_for_the_target_s_weights_alone():
  """What finds motion is not what assigns."""
  run = types.SimpleNamespace(
    num_prototypes=3000,
    words=types.SimpleNamespace(target="DINO"),
    method=method.of(
      settings_lib.Settings(
        data=settings_lib.Data(size=128),
        masking=settings_lib.Masking(kind="motion", flow="raft_small"),
      )
    ),
  )
  assert jax.tree.leaves(run.method.abstract.frozen)
  assert picture_sections.no_prototypes(run) == ""
  run.method = method.of(
    settings_lib.Settings(target=settings_lib.Target(kind="dino"))
  )
  assert "frozen weights are not kept" in picture_sections.no_prototypes(run)


@pytest.mark.parametrize("camera", ["affine", "none"])
def test_the_page_shows_trajectories_below_the_mask(clips, camera):
  """Of clips that only the camera moves: none are left without its motion."""
  ours = method.of(
    settings_lib.Settings(
      data=settings_lib.Data(num_frames=8, size=32),
      model=settings_lib.Model(patch=8),
      masking=settings_lib.Masking(ratio=0.75),
      method=mme.Options(steps=2, camera=camera),
    )
  )
  batch = ours.batch(clips)
  found = ours.traces(batch)
  moved, *rest = found.values()
  assert moved.shape == (1, 4, 8, 8, 3, 2)
  # Cells begin in their middle and go right by two pixels a frame.
  inner = moved[0, 1, 3:5, 3:5]
  np.testing.assert_allclose(inner[0, 0, 0], [1.75, 1.75])
  np.testing.assert_allclose(
    inner[..., 2, :] - inner[..., 0, :], [[[0.5, 0]] * 2] * 2, atol=0.03
  )
  assert len(rest) == (camera == "affine")
  for still in rest:
    lengths = np.linalg.norm(still[..., -1, :] - still[..., 0, :], axis=-1)
    assert np.nanmedian(lengths) < 0.02
  shown = clips_lib.Clips(clips, ["a"], [""], np.asarray(batch["luma"]))
  page = picture_sections.masks(
    types.SimpleNamespace(settings=ours.settings, method=ours), shown
  )
  assert page.index('class="hole"') < page.index('class="arrow"')
  assert "to be predicted of them: where each cell goes in the next 2" in page


def test_paths_begin_with_a_dot_and_many_are_thinned():
  points = np.zeros((2, 2, 3, 2))
  points[1, 0] = [[0.5, 1.5], [0.75, 1.5], [1.0, 1.25]]
  points[0, 1] = np.nan
  assert re.findall(r'd="([^"]*)"', pictures.paths(points)) == [
    "M0.50 1.50L0.75 1.50L1.00 1.25",
    "M0.50 1.50h0",
  ]
  many = np.zeros((28, 28, 2, 2))
  many[..., 1, :] = 1
  assert pictures.paths(many).count("L") == 14 * 14
