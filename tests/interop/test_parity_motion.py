"""MGMAE beside numbers that its published code printed, and NumPy's."""

import importlib.util
import pathlib

import numpy as np
import pytest

from sigma_jax.interop import golden_case, parity, parity_motion

CASES = (
  *("mask_translation", "mask_discontinuous", "mask_out_of_frame"),
  *("mask_no_filling", "mask_whole_clip", "mask_base_first"),
  *("mask_pixel_rand", "mask_token_rand", "mask_exposure", "mask_full"),
  *("pretrain_mgmae", "raft_small"),
)


def failed(path):
  result = parity.compare(golden_case.load(path))
  assert result.rows
  return {row.quantity for row in result.rows if not row.passed}


@pytest.mark.parametrize("name", CASES)
def test_published_numbers(golden_dir, name):
  assert not failed(golden_dir / "mgmae" / name)


def test_the_wrong_way_is_seen(golden_dir, monkeypatch):
  """Both directions are told apart, and so is a flow that is not shrunk."""
  path = golden_dir / "mgmae" / "mask_translation"
  real = parity_motion._flows
  monkeypatch.setattr(
    parity_motion, "_flows", lambda *args: real(*args[:-1], "published")
  )
  found = failed(path)
  assert {"maps__corrected", "mask__corrected"} <= found
  assert "maps__published" not in found
  monkeypatch.setattr(parity_motion, "_flows", real)
  carried = parity_motion.volume.carried
  monkeypatch.setattr(
    parity_motion.volume,
    "carried",
    lambda *args, **kwargs: carried(*args, **kwargs | {"shrink": (1.0, 1.0)}),
  )
  assert {"maps__published", "scores__published"} <= failed(path)


@pytest.fixture(scope="module", name="masks")
def masks_fixture():
  """The module mask_reference."""
  path = pathlib.Path(__file__).with_name("mask_reference.py")
  spec = importlib.util.spec_from_file_location("mask_reference", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize(
  "options",
  [
    {"grid": (4, 3, 5), "patch": 7, "batch": 2},
    {"grid": (5, 4, 6), "patch": 6, "tubelet": 1, "base": 4},
    {"grid": (2, 6, 3), "patch": 5, "tubelet": 3, "base": 0},
    {"grid": (3, 5, 4), "patch": 8, "batch": 2, "coarse": True, "base": 1},
    {"grid": (3, 4, 3), "patch": 6, "fill": False, "counted": False},
    {"grid": (3, 3, 4), "patch": 6, "whole": True, "batch": 2, "ratio": 0.7},
    {"grid": (3, 4, 4), "patch": 6, "exposed": True, "batch": 2},
  ],
  ids=lambda options: "-".join(map(str, options["grid"])),
)
def test_masks_of_other_shapes(masks, tmp_path, options):
  masks.write_case(tmp_path / "case", **options)
  result = parity.compare(golden_case.load(tmp_path / "case"))
  compared = {row.quantity for row in result.rows}
  for variant in ("published", "corrected"):
    wanted = {f"{name}__{variant}" for name in ("maps", "warped", "scores")}
    assert {*wanted, f"mask__{variant}", "init"} <= compared
  assert not [row for row in result.rows if not row.passed]


def test_the_reference_is_the_published_code(masks, golden_dir):
  """What judges other shapes gives a golden case's numbers itself."""
  arrays = np.load(golden_dir / "mgmae" / "mask_out_of_frame.npz")
  initial = masks.bumps(arrays["seeds"][0], (4, 4), 8)
  np.testing.assert_allclose(initial, arrays["init"][0], atol=1e-6)
  flows = [arrays[f"to_{name}"][0] for name in ("next", "prev")]
  found, _ = masks.carried(initial, *flows, 3, True)
  np.testing.assert_allclose(found, arrays["maps__corrected"][0], atol=1e-5)
  held = masks.scores(found, (3, 4, 4))
  np.testing.assert_allclose(held, arrays["scores__corrected"][0], atol=1e-3)
