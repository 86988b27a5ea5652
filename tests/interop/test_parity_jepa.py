"""V-JEPA and V-JEPA 2 beside numbers that their published code printed."""

import pytest

from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import golden_case, parity, parity_jepa

CASES = (
  *("vjepa_masks", "vjepa_parts", "vjepa_pretrain", "vjepa2_pretrain"),
  *("vjepa2_mask_options", "vjepa2_probe", "jepa_schedules"),
)


@pytest.mark.parametrize("name", CASES)
def test_published_numbers(golden_dir, name):
  result = parity.compare(golden_case.load(golden_dir / "jepa" / name))
  assert result.rows
  assert not [row for row in result.rows if not row.passed]


def test_another_number_is_seen(golden_dir, monkeypatch, capsys):
  real = parity_jepa.latent.distance
  monkeypatch.setattr(
    parity_jepa.latent, "distance", lambda *args: real(*args) * 1.001
  )
  path = str(golden_dir / "jepa" / "vjepa_pretrain.json")
  assert cli.main(["parity", path]) == 1
  assert "past the tolerance" in capsys.readouterr().out
