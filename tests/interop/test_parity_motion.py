"""MGMAE beside numbers that its published code printed."""

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
