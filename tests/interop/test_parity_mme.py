"""MME beside numbers that its published code printed."""

import json
import shutil

import numpy as np
import pytest

from sigma_jax.interop import golden_case, parity, parity_mme

CASES = (
  *("mme_hog", "mme_tracker", "mme_loader"),
  *("pretrain_mme", "pretrain_mme_volume"),
)


def failed(path):
  result = parity.compare(golden_case.load(path))
  assert result.rows
  return {row.quantity for row in result.rows if not row.passed}


@pytest.mark.parametrize("name", CASES)
def test_published_numbers(golden_dir, name):
  assert not failed(golden_dir / "mme" / name)


def test_a_loss_by_other_weights_is_seen(golden_dir, monkeypatch):
  """And labels of our own epsilon: the case holds both apart."""
  path = golden_dir / "mme" / "pretrain_mme"
  monkeypatch.setattr(parity_mme, "_EPSILON", 0.1)
  found = failed(path)
  assert {"traj_label", "loss_traj", "loss", "gradient_norm"} <= found
  assert not found & {"hog_label", "loss_hog", "traj_out"}


def test_tracks_between_pixels_are_seen(golden_dir, monkeypatch):
  track = parity_mme.trajectories.track
  monkeypatch.setattr(
    parity_mme.trajectories,
    "track",
    lambda flows, points, whole: track(flows, points),
  )
  assert "displacements_L4" in failed(golden_dir / "mme" / "mme_tracker")


@pytest.mark.parametrize("rows, columns", [(40, 56), (17, 33)])
def test_tracks_of_other_shapes(golden_dir, tmp_path, rows, columns):
  """Written in loops, beside what `interop parity` computes."""
  source = golden_dir / "mme" / "mme_tracker"
  shutil.copy(source.with_suffix(".json"), tmp_path / "other.json")
  flow = np.random.RandomState(0).uniform(-12, 12, (2, 7, rows, columns))
  flow = flow.astype(np.float32)
  moves = np.zeros((4, 3, rows // 8, columns // 8, 2), np.int8)
  valid = np.ones((4, rows // 8, columns // 8), np.uint8)
  for start, row, column in np.ndindex(valid.shape):
    x, y = 8 * column + 4, 8 * row + 4
    for step in range(3):
      if not (0 <= x < columns and 0 <= y < rows):
        valid[start, row, column] = 0
      x, y = min(max(x, 0), columns - 1), min(max(y, 0), rows - 1)
      moved = [int(part) for part in flow[:, start + step, y, x]]
      moves[start, step, row, column] = moved
      x, y = x + moved[0], y + moved[1]
  arrays = {"flow": flow, "displacements_L3": moves, "valid_L3": valid}
  np.savez(tmp_path / "other.npz", **arrays)
  assert not failed(tmp_path / "other")
  arrays["valid_L3"] = 1 - valid
  np.savez(tmp_path / "other.npz", **arrays)
  assert failed(tmp_path / "other") == {"valid_L3"}


def test_cells_that_move_alike_are_no_difference(golden_dir, tmp_path):
  """Theirs is a rounding error over a millionth there."""
  source = golden_dir / "mme" / "pretrain_mme"
  options = json.loads(source.with_suffix(".json").read_text())
  del options["grads"]
  (tmp_path / "alike.json").write_text(json.dumps(options))
  with np.load(source.with_suffix(".npz")) as found:
    arrays = dict(found)
  hidden = np.flatnonzero(arrays["mask"][0])[3]
  slot, row, column = np.unravel_index(hidden, (8, 4, 4))
  cells = np.s_[
    0, slot, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0
  ]
  arrays["displacements"][cells] = 2.9
  arrays["traj_label"][0, 3, :4] = 0.04
  kept = ("video", "mask", "displacements", "valid", "traj_label", "traj_mask")
  arrays = {name: arrays[name] for name in kept}
  np.savez(tmp_path / "alike.npz", **arrays)
  assert not failed(tmp_path / "alike")
  arrays["traj_label"][0, 3, 5] += 0.04
  np.savez(tmp_path / "alike.npz", **arrays)
  assert failed(tmp_path / "alike") == {"traj_label"}
