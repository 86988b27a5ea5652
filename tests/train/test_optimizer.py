"""Schedule and AdamW."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma
from sigma_jax.train import optimizer


def test_published_schedule(golden):
  wanted = golden("schedule").arrays["lr"]
  schedule = optimizer.cosine_schedule(
    1.5e-4 * 512 / 256, 1e-5 * 512 / 256, total_steps=200, warmup_steps=40
  )
  found = jax.vmap(schedule)(jnp.arange(200))
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_settings_become_the_published_schedule(golden):
  """20 epochs of 10 steps, 4 of warm-up, at batch 512."""
  _, schedule = optimizer.make(
    settings_lib.Optimizer(base_lr=1.5e-4, min_lr=1e-5, warmup_epochs=4),
    batch_size=512,
    total_steps=200,
    steps_per_epoch=10,
  )
  found = jax.vmap(schedule)(jnp.arange(200))
  np.testing.assert_allclose(found, golden("schedule").arrays["lr"], rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_short_schedules_stay_finite(warmup):
  schedule = optimizer.cosine_schedule(1.0, 0.1, 5, warmup)
  found = np.asarray(jax.vmap(schedule)(jnp.arange(8)))
  assert np.isfinite(found).all() and (found >= 0).all() and found.max() <= 1


def test_warmup_never_exceeds_the_run():
  _, schedule = optimizer.make(
    settings_lib.Optimizer(base_lr=1.0, warmup_epochs=40),
    batch_size=256,
    total_steps=10,
    steps_per_epoch=100,
  )
  assert float(schedule(9)) == pytest.approx(1.0)


def test_decay_falls_on_matrices_alone(tiny):
  params = sigma.abstract(tiny).params
  mask = optimizer.decay_mask(params)
  decayed = {
    jax.tree_util.keystr(path)
    for path, value in jax.tree.leaves_with_path(mask)
    if value
  }
  assert "['prototypes']" in decayed
  assert "['encoder']['embed']['kernel']" in decayed
  for path, leaf in jax.tree.leaves_with_path(params):
    name = jax.tree_util.keystr(path)
    # Blocks are stacked: one axis more than what they hold.
    matrix = leaf.ndim - ("blocks" in name) == 2
    assert (name in decayed) == matrix, name


def test_decay_falls_by_a_cosine():
  """V-JEPA's probe: from .01 to 1e-6; half-way at half the steps."""
  params = {"kernel": jnp.ones((2, 2)), "query_tokens": jnp.ones((1, 2))}
  params["bias"] = jnp.ones(2)
  tx, _ = optimizer.make(
    settings_lib.Optimizer(
      base_lr=1.0,
      min_lr=1.0,
      warmup_epochs=0,
      weight_decay=0.01,
      weight_decay_end=1e-6,
    ),
    batch_size=256,
    total_steps=4,
    steps_per_epoch=1.0,
  )
  state, found = tx.init(params), []
  for _ in range(5):
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, state = tx.update(grads, state, params)
    found.append(-updates["kernel"][0, 0])
    np.testing.assert_array_equal(updates["query_tokens"], -found[-1])
    np.testing.assert_array_equal(updates["bias"], 0)
  # 1e-6 + (.01 - 1e-6) (1 + cos(pi i / 4)) / 2, cosines 1, .70711, 0, ...
  wanted = [0.01, 0.008535680, 0.0050005, 0.0014653203, 1e-6]
  np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_decay_and_clipping_reach_the_update():
  params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full((2,), 3.0)}
  grads = jax.tree.map(jnp.zeros_like, params)
  options = {"batch_size": 256, "total_steps": 10, "steps_per_epoch": 1.0}
  plain = settings_lib.Optimizer(
    base_lr=0.1, min_lr=0.1, warmup_epochs=0, weight_decay=0.5
  )
  tx, _ = optimizer.make(plain, **options)
  updates, _ = tx.update(grads, tx.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 3.0, rtol=1e-6)
  np.testing.assert_array_equal(updates["bias"], 0)

  clipped = settings_lib.Optimizer(
    base_lr=0.1, min_lr=0.1, warmup_epochs=0, clip_norm=1.0
  )
  tx, _ = optimizer.make(clipped, **options)
  state = tx.init(params)
  large = jax.tree.map(lambda x: 100.0 * jnp.ones_like(x), params)
  _, state = tx.update(large, state, params)
  moment = jax.tree.leaves_with_path(state)
  found = [leaf for path, leaf in moment if ".mu['bias']" in
           jax.tree_util.keystr(path)]  # fmt: skip
  # b1 = 0.9: a tenth of the gradient clipped to norm 1, of 6 equal entries.
  np.testing.assert_allclose(found[0], 0.1 / np.sqrt(6), rtol=1e-5)


def test_clipping_can_be_switched_on_in_the_middle_of_a_run():
  params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones((3,))}
  options = {"batch_size": 256, "total_steps": 10, "steps_per_epoch": 1}
  plain, _ = optimizer.make(settings_lib.Optimizer(), **options)
  clipped, _ = optimizer.make(settings_lib.Optimizer(clip_norm=1.0), **options)
  state = plain.init(params)
  assert jax.tree.structure(state) == jax.tree.structure(clipped.init(params))
  _, state = clipped.update(params, state, params)
  assert jax.tree.structure(state) == jax.tree.structure(plain.init(params))
