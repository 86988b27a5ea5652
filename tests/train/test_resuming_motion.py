"""Runs whose masks or targets come from motion go on as if never stopped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax.methods import mme
from sigma_jax.motion import flow
from sigma_jax.train import checkpoint


@pytest.fixture(scope="module", autouse=True)
def cheap_flow():
  """Flow that compiles in no time; tests/motion have the one that is used."""

  def between(first, second):
    if first.ndim == 4:  # colours
      first, second = (x.astype(jnp.float32).mean(-1) for x in (first, second))
    change = (second.astype(jnp.float32) - first.astype(jnp.float32)) / 64
    return jnp.stack([change, jnp.roll(change, 1, axis=-1)], axis=-1)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(flow, "between", between)
    yield


@pytest.mark.parametrize("name", ["mme", "mgmae", "sigma"])
def test_resuming_is_the_unbroken_run_bitwise(
  tiny, change, pretrain, tmp_path, name
):
  run = change(tiny, model__encoder_depth=1)
  if name == "mme":
    run = dataclasses.replace(run, method=mme.Options(steps=2, head_hidden=16))
  else:
    run = change(run, masking__kind="motion")
  if name == "mgmae":
    run = change(run, target__kind="pixel", loss__kind="l2")
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  last = pretrain(run, whole)
  with pytest.raises(KeyboardInterrupt):
    pretrain(run, broken, stop_before=5)
  assert checkpoint.restore_params(broken)[1] == 3
  again = pretrain(run, broken)
  timing = {"clips_per_second", "wait_share"}
  assert {k: v for k, v in last.items() if k not in timing} == {
    k: v for k, v in again.items() if k not in timing
  }
  (one, step), (other, _) = map(checkpoint.restore_params, (whole, broken))
  assert step == 6
  jax.tree.map(np.testing.assert_array_equal, one, other)
