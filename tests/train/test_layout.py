"""Stacked and single blocks: the same run, and the same checkpoints."""

import functools

import jax
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint, layout, optimizer, state, steps
from sigma_jax.train import mesh as mesh_lib


@functools.cache
def make(settings, devices=1):
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:devices])
  tx, schedule = optimizer.make(
    settings.optimizer, batch_size=8, total_steps=10, steps_per_epoch=5.0
  )
  return mesh, tx, schedule, state.create(settings, tx, mesh)


def test_stacking_undoes_unstacking(tiny):
  _, _, _, stacked = make(tiny)
  single = layout.unstack(stacked)
  depth = tiny.model.encoder_depth
  for tree in (single.params, single.opt_state[0][0].mu):
    kernel = tree["encoder"]["stack"]["blocks"]["mlp"]["fc1"]["kernel"]
    assert isinstance(kernel, tuple) and len(kernel) == depth
  again = layout.stack(single)
  jax.tree.map(np.testing.assert_array_equal, again, stacked)
  assert layout.stack(stacked) == stacked


def test_weight_decay_falls_on_the_same_parameters(tiny):
  params = make(tiny)[3].params
  mask = optimizer.decay_mask(layout.unstack(params))
  for path, decayed in jax.tree.leaves_with_path(mask):
    where = optimizer.decay_mask(params)
    for entry in path:
      if isinstance(entry, jax.tree_util.DictKey):
        where = where[entry.key]
    assert decayed == where


def test_large_models_alone_on_a_cpu_are_unstacked(tiny, monkeypatch):
  mesh, _, _, stacked = make(tiny)
  assert layout.fit(stacked, mesh) is stacked
  monkeypatch.setattr(layout, "_MIN_BYTES", 1)
  single = layout.fit(stacked, mesh)
  assert len(jax.tree.leaves(single)) > len(jax.tree.leaves(stacked))
  mesh, _, _, stacked = make(tiny, devices=8)
  assert layout.fit(stacked, mesh) is stacked


def test_a_run_of_single_blocks(tiny, pretrain, tmp_path, monkeypatch):
  """Resumes bitwise; its checkpoints are any other run's."""
  folders = [tmp_path / name for name in ("stacked", "single", "killed")]
  pretrain(tiny, folders[0])
  monkeypatch.setattr(layout, "_MIN_BYTES", 1)
  unstacked = []
  real = layout.unstack
  monkeypatch.setattr(
    layout, "unstack", lambda tree: unstacked.append(1) or real(tree)
  )
  monkeypatch.setattr(mesh_lib, "make", one_device(mesh_lib.make))
  pretrain(tiny, folders[1])
  with pytest.raises(KeyboardInterrupt):
    pretrain(tiny, folders[2], stop_before=5)
  pretrain(tiny, folders[2])
  assert len(unstacked) == 3
  stacked, single, killed = (
    checkpoint.restore_params(folder)[0] for folder in folders
  )
  jax.tree.map(np.testing.assert_array_equal, killed, single)
  start = sigma.init_params(tiny, jax.random.key(tiny.seed))
  leaves = map(jax.tree.leaves, (stacked, single, start))
  for a, b, c in zip(*leaves, strict=True):
    moved = float(abs(np.asarray(a) - np.asarray(c)).max())
    np.testing.assert_allclose(b, a, atol=0.02 * moved)


def one_device(make):
  return lambda settings: make(settings, jax.devices()[:1])


def test_gradients_that_are_not_finite_change_no_parameter(tiny, tiny_video):
  mesh, tx, schedule, before = make(tiny)
  step = jax.jit(steps.pretrain_step(tiny, tx, schedule, mesh))
  params = jax.tree.map(lambda leaf: leaf, before.params)
  norm = params["decoder"]["norm"]
  norm["scale"] = norm["scale"].at[0].set(np.nan)
  after, metrics = step(
    before._replace(params=params), {}, {"video": tiny_video}
  )
  assert not np.isfinite(metrics["grad_norm"])
  kept = {**params, "prototypes": after.params["prototypes"]}
  jax.tree.map(np.testing.assert_array_equal, after.params, kept)
