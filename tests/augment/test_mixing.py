"""Labels are mixed in the proportions in which pixels are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import errors, settings
from sigma_jax.augment import mixing

BOTH = settings.Augment()
MIXUP = dataclasses.replace(BOTH, cutmix=0.0)
CUTMIX = dataclasses.replace(BOTH, mixup=0.0)
mix = jax.jit(mixing.mix, static_argnums=(3, 4))


def test_smoothed_labels_by_hand():
  found = mixing.smooth_labels(jnp.asarray([2, 0]), 4, 0.1)
  np.testing.assert_allclose(
    found, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]], 1e-6
  )


def clips(b, samples=1):
  """Clip i is of colour 10 i and of class i of its own."""
  values = 10 * np.arange(b, dtype=np.uint8)
  video = np.broadcast_to(values[:, None, None, None, None], (b, 2, 24, 30, 3))
  return np.array(video), np.eye(b, dtype=np.float32)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_mixup_weighs_pixels_as_labels(samples):
  video, targets = clips(12)
  found, labels = mix(jax.random.key(0), video, targets, MIXUP, samples)
  found, labels = np.asarray(found), np.asarray(labels)
  assert found.dtype == np.uint8 and labels.dtype == np.float32
  np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
  weights = set()
  for i in range(12):
    group, slot = divmod(i, 2 * samples)
    partner = group * 2 * samples + (slot + samples) % (2 * samples)
    own = labels[i, i]
    assert np.isclose(labels[i, partner], 1 - own, atol=1e-6)
    assert np.isclose(labels[partner, partner], own, atol=1e-6)
    mixed = 10 * (own * i + (1 - own) * partner)
    assert (np.abs(found[i] - mixed) <= 0.501).all()
    weights.add(round(float(own), 5))
  assert len(weights) == 6  # a draw a pair


def test_cutmix_pastes_a_box_as_large_as_its_label():
  for key in range(20):
    video, targets = clips(4)
    found, labels = mix(jax.random.key(key), video, targets, CUTMIX, 1)
    found, labels = np.asarray(found), np.asarray(labels)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    for i in range(4):
      partner = i ^ 1
      pasted = found[i, ..., 0] == 10 * partner
      assert (pasted | (found[i, ..., 0] == 10 * i)).all()
      assert (pasted == pasted[0]).all()  # the same box in all frames
      np.testing.assert_allclose(labels[i, partner], pasted.mean(), atol=1e-6)
      rows, columns = np.nonzero(pasted[0])
      if len(rows):
        extent = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert extent == pasted[0].sum()
      np.testing.assert_array_equal(
        pasted[0], found[partner, 0, ..., 0] == 10 * i
      )


def draws(options, count=4000):
  keys = jax.random.split(jax.random.key(3), count)
  draw = jax.jit(jax.vmap(lambda key: mixing.draw(key, options, 100, 100)))
  return jax.tree.map(np.asarray, draw(keys))


def test_draws_of_both():
  found = draws(BOTH)
  top, left, bottom, right = found.box.T
  cut = found.weight == 1
  assert abs(cut.mean() - 0.5) < 0.03
  assert not found.box[~cut].any()
  area = (bottom - top) * (right - left) / 1e4
  np.testing.assert_allclose(found.label[cut], 1 - area[cut], atol=1e-6)
  np.testing.assert_array_equal(found.label[~cut], found.weight[~cut])
  assert top.min() >= 0 and bottom.max() <= 100
  # Beta(.8, .8): mean 1/2, variance 1 / (4 (2 x .8 + 1)).
  mixup = found.weight[~cut]
  assert abs(mixup.mean() - 0.5) < 0.02
  assert abs(mixup.var() - 1 / (4 * 2.6)) < 0.006
  # A box that does not reach an edge is whole: side sqrt(1 - U(0, 1)), and of
  # places where it fits each is as likely.
  whole = cut & (top > 0) & (left > 0) & (bottom < 100) & (right < 100)
  sides = (bottom - top)[whole]
  np.testing.assert_array_equal(sides, (right - left)[whole])
  assert abs(((top + bottom)[whole] / 2).mean() - 50) < 2


def test_cutmix_alone_always_cuts_and_mixup_alone_never():
  assert (draws(CUTMIX, 200).weight == 1).all()
  assert not draws(MIXUP, 200).box.any()


def test_what_is_off_and_what_cannot_be_paired():
  video, targets = clips(3)
  none = dataclasses.replace(BOTH, mixup=0.0, cutmix=0.0)
  found = mixing.mix(jax.random.key(0), video, targets, none)
  assert found[0] is video and found[1] is targets
  with pytest.raises(errors.UserError, match="even number of videos"):
    mixing.mix(jax.random.key(0), video, targets, BOTH)
  with pytest.raises(errors.UserError, match="even number"):
    mixing.mix(jax.random.key(0), *clips(6), BOTH, samples=2)
