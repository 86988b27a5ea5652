"""V-JEPA and V-JEPA 2 beside numbers that their published code printed."""

import jax
import jax.numpy as jnp
import optax
import pytest

from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import golden_case, parity, parity_jepa, parity_views
from sigma_jax.train import parts

CASES = (
  *("vjepa_masks", "vjepa_parts", "vjepa_pretrain", "vjepa2_pretrain"),
  *("vjepa2_mask_options", "vjepa2_probe", "jepa_schedules"),
  *("swav", "dino", "swav_dino_schedules"),
)


@pytest.mark.parametrize("name", CASES)
def test_published_numbers(golden_dir, name):
  result = parity.compare(golden_case.load(golden_dir / "jepa" / name))
  assert result.rows
  assert not [row for row in result.rows if not row.passed]


@pytest.mark.parametrize(
  ("function", "changed", "quantities"),
  [
    (
      "clip_each",
      lambda grads, most: jax.tree.map(
        lambda g: g * min(1.0, most / jnp.linalg.norm(g)), grads
      ),  # stacked blocks by one norm
      {"step_clipped_norms"},
    ),
    (
      "hold",
      lambda make, held: make(0) if not held else optax.sgd(1e-3),
      {"step_norm", "step_values"},
    ),
  ],
)
def test_another_step_of_dino_is_seen(
  golden_dir, monkeypatch, function, changed, quantities
):
  monkeypatch.setattr(parts, function, changed)
  result = parity.compare(golden_case.load(golden_dir / "jepa" / "dino"))
  failed = {row.quantity for row in result.rows if not row.passed}
  assert quantities <= failed
  assert "step_loss" not in failed


def test_another_number_is_seen(golden_dir, monkeypatch, capsys):
  real = parity_jepa.latent.distance
  monkeypatch.setattr(
    parity_jepa.latent, "distance", lambda *args: real(*args) * 1.001
  )
  path = str(golden_dir / "jepa" / "vjepa_pretrain.json")
  assert cli.main(["parity", path]) == 1
  assert "past the tolerance" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("name", "module", "function", "quantity"),
  [
    ("swav", "swapped", "pushed", "queue_queue"),
    ("swav", "swapped", "full", "queue_loss"),
    ("dino", "distilled", "moved_centre", "center"),
    ("dino", "distilled", "teacher_temperature", "loss"),
  ],
)
def test_another_state_is_seen(
  golden_dir, monkeypatch, name, module, function, quantity
):
  """State of the step before is compared, not only each call alone."""
  module = getattr(parity_views, module)
  real = getattr(module, function)
  changed = {
    "pushed": lambda queue, new: real(queue, new * 1.001),
    "full": lambda queue: ~real(queue),
    "moved_centre": lambda *args: real(*args) * 1.001,
    "teacher_temperature": lambda *args: real(*args) * 1.001,
  }[function]
  monkeypatch.setattr(module, function, changed)
  result = parity.compare(golden_case.load(golden_dir / "jepa" / name))
  failed = {row.quantity for row in result.rows if not row.passed}
  assert quantity in failed
  assert "plain_loss" not in failed
