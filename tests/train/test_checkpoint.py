"""Saving, restoring, and refusing what does not fit."""

import jax
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.train import checkpoint, optimizer
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import workdir as workdir_lib


@pytest.fixture(scope="module")
def tx(tiny):
  return optimizer.make(
    tiny.optimizer, batch_size=8, total_steps=6, steps_per_epoch=4
  )[0]


@pytest.fixture(scope="module")
def state(tiny, tx):
  """Noise in every array; spread over data 2 x fsdp 4."""
  mesh = mesh_lib.make(settings_lib.Mesh(2, 4))
  abstract = state_lib.abstract(tiny, tx, mesh)
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jax.device_put(
      (100 * rng.normal(size=leaf.shape)).astype(leaf.dtype), leaf.sharding
    ),
    abstract,
  )


@pytest.fixture(scope="module")
def saved(tiny, tx, state, tmp_path_factory):
  """A workdir with checkpoints of steps 3 and 6, of 1 + the state at 3."""
  workdir = tmp_path_factory.mktemp("saved")
  workdir_lib.write_config(workdir, tiny)
  checkpoints = checkpoint.Checkpointer(workdir, tiny.train)
  assert checkpoints.latest is None
  checkpoints.save(3, jax.tree.map(lambda x: x + np.ones((), x.dtype), state))
  checkpoints.save(6, state)
  checkpoints.close()
  return workdir


def assert_same(a, b):
  for (path, x), y in zip(
    jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True
  ):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(("data", "fsdp"), [(2, 4), (8, 1)])
def test_what_is_restored_is_bitwise_what_was_saved(
  tiny, tx, state, saved, data, fsdp, monkeypatch
):
  monkeypatch.setattr(mesh_lib, "_MIN_SHARDED_SIZE", 64)
  mesh = mesh_lib.make(settings_lib.Mesh(data, fsdp))
  abstract = state_lib.abstract(tiny, tx, mesh)
  checkpoints = checkpoint.Checkpointer(saved, tiny.train)
  assert checkpoints.latest == 6
  restored = checkpoints.restore(6, abstract)
  older = checkpoints.restore(3, abstract)
  checkpoints.close()
  assert_same(restored, state)
  assert (np.asarray(older.step) == np.asarray(state.step) + 1).all()
  for a, b in zip(
    jax.tree.leaves(restored), jax.tree.leaves(abstract), strict=True
  ):
    assert a.sharding.is_equivalent_to(b.sharding, a.ndim)


def test_parameters_alone(tiny, state, saved):
  params, step = checkpoint.restore_params(saved)
  assert step == 6
  assert_same(params, state.params)
  for leaf in jax.tree.leaves(params):
    assert leaf.devices() == {jax.local_devices()[0]}


def test_old_checkpoints_go_and_multiples_stay(tiny, change, tmp_path):
  train = change(tiny, train__keep=2, train__keep_every=4).train
  checkpoints = checkpoint.Checkpointer(tmp_path, train)
  for step in range(1, 8):
    checkpoints.save(step, {"x": np.full(2, step)})
  checkpoints.close()
  left = {int(p.name) for p in (tmp_path / "checkpoints").iterdir()}
  assert left == {4, 6, 7}


def test_config_round_trip(tiny, saved):
  assert workdir_lib.read_config(saved) == tiny


def test_missing_runs_are_named(tiny, tmp_path):
  with pytest.raises(errors.UserError, match=r"no config.json in '.*nowhere'"):
    checkpoint.restore_params(tmp_path / "nowhere")
  workdir_lib.write_config(tmp_path, tiny)
  with pytest.raises(errors.UserError, match="no complete checkpoint under"):
    checkpoint.restore_params(tmp_path)
