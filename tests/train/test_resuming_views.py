"""Runs of several views a video go on as if nothing had stopped them."""

import dataclasses

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax.methods import clip_dino, clip_swav, method
from sigma_jax.models import vit
from sigma_jax.train import checkpoint

SHARED = {
  "jitter_prob": 0.0,
  "grey_prob": 0.0,
  "blur_prob": (0.0,) * 3,
  "solarize_prob": (0.0,) * 3,
  "hidden": 16,
}
# Four steps an epoch: the queue begins before the stop and is full after it;
# the held part is let go between the checkpoint and the stop.
OPTIONS = {
  "swav": clip_swav.Options(
    dim=8, prototypes=6, queue=24, queue_epochs=0.5, **SHARED
  ),
  "dino": clip_dino.Options(bottleneck=8, outputs=10, **SHARED),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_resuming_is_the_unbroken_run_bitwise(tiny, pretrain, tmp_path, name):
  run = dataclasses.replace(tiny, method=OPTIONS[name])
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  last = pretrain(run, whole)
  with pytest.raises(KeyboardInterrupt):
    pretrain(run, broken, stop_before=5)
  again = pretrain(run, broken)
  timing = {"clips_per_second", "wait_share"}
  assert {k: v for k, v in last.items() if k not in timing} == {
    k: v for k, v in again.items() if k not in timing
  }
  if name == "swav":
    assert last["queue_full"] == 1
  for judged in (False, True):
    (one, step), (other, _) = (
      checkpoint.restore_params(each, judged=judged) for each in (whole, broken)
    )
    assert step == 6
    jax.tree.map(np.testing.assert_array_equal, one, other)
  # What evaluations take: the teacher's encoder, or the trained one.
  video = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  found = sigma_jax.load(whole).encode(video)
  of_run = method.of(run)
  encoder = of_run.networks({**of_run.abstract.params, **one}, {}).encoder
  tubes = vit.split_tubes(video, run.model.tubelet, run.model.patch)
  np.testing.assert_allclose(found.tokens, encoder(tubes), atol=1e-5)
  assert (name == "dino") == (of_run.evaluated[0] == "slow")
