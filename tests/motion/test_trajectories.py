"""Tracks of cells: known motions, the camera's, symmetries, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.motion import trajectories
from sigma_jax.train import mesh as mesh_lib

SIDE, CELLS, STEPS = 64, 16, 2
EPSILON = 0.1


def grey(frames):
  return np.round(frames @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(view):
  """Two shifts, a shift with a disc moving apart, its mirror, a still one."""
  rows, columns = np.ogrid[:SIDE, :SIDE]

  def disc(time):
    x, y = 30 + 5 * time, 34 - 2 * time
    frame = view(2 * time, -time).copy()
    inside = (columns - x) ** 2 + (rows - y) ** 2 < 14**2
    # Its own texture goes with it, at three pixels a frame against the ground.
    frame[inside] = view(5 * time, -2 * time, seed=1)[inside]
    return frame

  times = range(STEPS + 1)
  apart = np.stack([grey(disc(time)) for time in times])
  found = [
    np.stack([grey(view(3 * time, -2 * time)) for time in times]),
    np.stack([grey(view(-time, 4 * time, seed=2)) for time in times]),
    apart,
    apart[..., ::-1],
    np.stack([grey(view(0, 0))] * (STEPS + 1)),
  ]
  return np.stack(found)[:, None]


def tracked(luma, camera):
  return trajectories.of_luma(luma, (CELLS, CELLS), camera=camera)


@pytest.fixture(scope="module")
def tracks(clips):
  """With the camera's motion, and without."""
  run = jax.jit(tracked, static_argnums=1)
  return run(clips, False), run(clips, True)


def label(steps):
  return np.asarray(trajectories.labels(steps, "patch_std", EPSILON))


def test_tracks_are_the_content_s(tracks):
  found = np.asarray(tracks[0].steps)[:, 0, :, 4:-4, 4:-4]
  for clip, move in ((0, (3, -2)), (1, (-1, 4))):
    assert np.abs(found[clip] - move).max(-1).mean() < 0.1
  middle = trajectories.middles(CELLS, CELLS, 4)
  at = np.asarray(tracks[0].at)[0, 0, :, 8, 8]
  np.testing.assert_allclose(at[0], middle[8, 8])
  np.testing.assert_allclose(at[1] - at[0], (3, -2), atol=0.1)


def test_camera_motion_alone_gives_next_to_none(tracks):
  """Of 3.6 and 4.1 pixels: half of the cells keep less than a twentieth of one.

  At the rim, where the next frame shows what none had, flow cannot be known.
  """
  with_camera, without = (
    np.linalg.norm(np.asarray(x.steps)[:2, 0], axis=-1) for x in tracks
  )
  assert with_camera[0, :, 3:-3, 3:-3].mean() > 3.4
  assert np.median(without) < 0.05
  assert without[:, :, 3:-3, 3:-3].mean() < 0.05
  # And so little of a label, which is of the order of 1 where things move.
  labels = np.square(label(tracks[1].steps)).reshape(5, 8, 8, -1)
  assert labels[:2, 1:-1, 1:-1].mean() < 0.1
  assert labels[2].max() > 1


def test_what_moves_apart_is_left(tracks):
  """The disc's motion against the ground's; the ground stays."""
  steps = np.asarray(tracks[1].steps)[2, 0]
  np.testing.assert_allclose(
    steps[0, 7:10, 6:9].mean((0, 1)), (3, -1), atol=0.3
  )
  assert np.linalg.norm(steps[:, 1:4, 1:4], axis=-1).mean() < 0.15


def test_mirrored_clips_have_mirrored_tracks(tracks):
  for found in tracks:
    steps, mirrored = np.asarray(found.steps)[2:4, 0]
    expected = mirrored[:, :, ::-1] * [-1, 1]
    near = np.abs(steps - expected).max(-1) < 0.02
    assert near.mean() > 0.97
    valid, other = np.asarray(found.valid)[2:4, 0]
    np.testing.assert_array_equal(valid, other[:, ::-1])


def test_still_clips_have_exact_zeros(tracks):
  for found in tracks:
    np.testing.assert_array_equal(np.asarray(found.steps)[4], 0)
    np.testing.assert_array_equal(label(found.steps)[4], 0)
    assert np.asarray(found.valid)[4].all()


def test_what_leaves_the_frame_does_not_count():
  flows = np.zeros((1, 3, 16, 16, 2), np.float32)
  flows[..., 0] = 5.0
  points = trajectories.middles(4, 4, 4)
  found = trajectories.track(jnp.asarray(flows), points)
  # From 1.5, 5.5, 9.5 and 13.5 the third step begins 10 further right.
  expected = [[True, False, False, False]] * 4
  np.testing.assert_array_equal(found.valid[0], expected)
  counted = trajectories.counted(found.valid[:, None])
  np.testing.assert_array_equal(counted[0], [True, False] * 2)


def test_devices_change_nothing(clips, tracks):
  mesh = mesh_lib.make(settings_lib.Mesh())
  luma = np.concatenate([clips, clips[:3]])
  placed = mesh_lib.put_batch({"luma": luma}, mesh)["luma"]
  found = jax.jit(tracked, static_argnums=1)(placed, True)
  np.testing.assert_allclose(found.steps[:5], tracks[1].steps, atol=1e-4)


@pytest.mark.parametrize("shrink", [1, 2])
def test_the_camera_is_found_beside_what_moves(shrink):
  """A quarter of the frame moves apart."""
  motion = np.array([[2, 0.3, -0.1], [-1, 0.2, 0.4]], np.float32)
  at = trajectories.middles(112 // shrink, 112 // shrink, shrink)
  flow = np.array(trajectories.moved(motion[None], at[None], (112, 112)))
  part = slice(30 // shrink, 86 // shrink)
  flow[0, part, part] += (5, -4)
  found = trajectories.affine(jnp.asarray(flow), 4 // shrink, shrink)
  np.testing.assert_allclose(found[0], motion, atol=0.02)


def test_labels_are_of_each_tube_s_cells():
  steps = np.random.RandomState(0).normal(size=(2, 3, 2, 4, 6, 2))
  steps = steps.astype(np.float32)
  found = label(jnp.asarray(steps))
  assert found.shape == (2, 3 * 2 * 3, 16)
  cells = steps[1, 2, 1, 2:4, 2:4, 0].reshape(-1)  # of x, the second step
  wanted = (cells - cells.mean()) / (cells.std(ddof=1) + EPSILON)
  place = 2 * 6 + 3 + 1
  np.testing.assert_allclose(found[1, place, 4:8], wanted, rtol=1e-4, atol=1e-6)
  far = trajectories.labels(jnp.full((1, 1, 1, 2, 2, 2), 50.0), "none", 1.0)
  np.testing.assert_array_equal(far, 1)


def test_whole_tracks_on_a_coarse_flow_are_those_of_the_fine_one():
  flow = np.random.RandomState(0).uniform(-6, 6, (1, 3, 8, 8, 2))
  flow = flow.astype(np.float32)
  points = trajectories.middles(4, 4, 4)
  coarse = trajectories.track(jnp.asarray(flow), points, shrink=2, whole=True)
  fine = flow.repeat(2, axis=2).repeat(2, axis=3)
  same = trajectories.track(jnp.asarray(fine), points, whole=True)
  for ours, theirs in zip(coarse, same, strict=True):
    np.testing.assert_array_equal(ours, theirs)
