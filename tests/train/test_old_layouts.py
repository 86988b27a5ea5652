"""Runs that an older version began go on as if it had ended them."""

import jax
import numpy as np
import optax
import pytest

from sigma_jax import settings
from sigma_jax.train import checkpoint, old_layouts, optimizer, stored

MAKE = optimizer.make


def old_make(options, *, factors=None, average=0.0, **lengths):
  """`optimizer.make` as it was until clipping became stateless."""
  _, schedule = MAKE(options, **lengths)
  links = [
    optax.clip_by_global_norm(options.clip_norm),
    optax.adamw(
      schedule,
      b1=options.b1,
      b2=options.b2,
      weight_decay=options.weight_decay,
      mask=optimizer.decay_mask,
    ),
  ]
  if factors is not None:
    links.append(optimizer._scale(factors))
  if average:
    links.append(optimizer.moving_average(average))
  return optax.chain(*links), schedule


def listed(workdir, step):
  return stored.metadata(workdir.absolute() / "checkpoints" / str(step))


def test_a_run_from_before_clipping_was_stateless_goes_on(
  tiny, change, pretrain, tmp_path, capsys
):
  clipped = change(tiny, optimizer__clip_norm=0.1)
  old, unbroken = tmp_path / "old", tmp_path / "unbroken"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(optimizer, "make", old_make)
    pretrain(clipped, unbroken)
    with pytest.raises(KeyboardInterrupt):
      pretrain(clipped, old, stop_before=5)
  assert old_layouts.has_clipping(listed(old, 3))
  capsys.readouterr()
  pretrain(clipped, old)
  said = capsys.readouterr().out
  assert said.count("checkpoint of step 3 is of an older version") == 1
  assert "resuming after step 3" in said
  found, wanted = (checkpoint.restore_params(w)[0] for w in (old, unbroken))
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  assert not old_layouts.has_clipping(listed(old, 6))
  assert old_layouts.has_clipping(listed(unbroken, 6))


def test_only_an_empty_first_link_is_clipping():
  """With layer decay and a moving average too: links that may be empty."""
  params = {"encoder": {"stack": {"blocks": {"kernel": np.ones((2, 3))}}}}
  lengths = {"batch_size": 8, "total_steps": 4, "steps_per_epoch": 2}
  options = {
    "factors": lambda params: jax.tree.map(lambda leaf: 1.0, params),
    "average": 0.9,
  }
  for more in ({}, options, {"average": 0.9}):
    clipping = settings.Optimizer(clip_norm=1.0)
    new = MAKE(clipping, **lengths, **more)[0].init(params)
    old = old_make(clipping, **lengths, **more)[0].init(params)
    assert not old_layouts.has_clipping({"opt_state": new})
    assert old_layouts.has_clipping({"opt_state": old})
    there = old_layouts.with_clipping({"opt_state": new})
    assert jax.tree.structure(there) == jax.tree.structure({"opt_state": old})
    back = old_layouts.without_clipping({"opt_state": old})
    assert jax.tree.structure(back) == jax.tree.structure({"opt_state": new})
  assert not old_layouts.has_clipping({"params": params})
