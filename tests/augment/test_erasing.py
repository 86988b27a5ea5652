"""One box a clip, of the stated sizes, at the stated rate."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax.augment import erasing

erase = jax.jit(erasing.erase, static_argnums=(2, 3))


def test_boxes():
  keys = jax.random.split(jax.random.key(0), 3000)
  draw = jax.jit(jax.vmap(lambda key: erasing.draw_box(key, 160, 200)))
  top, left, height, width = np.asarray(draw(keys)).T
  assert top.min() >= 0 and (top + height).max() <= 160
  assert left.min() >= 0 and (left + width).max() <= 200
  assert top.max() > 120 and left.max() > 160
  area = height * width / (160 * 200)
  assert 0.018 < area.min() < 0.025 and 0.32 < area.max() < 0.34
  ratio = np.log(height / width) / math.log(1 / 0.3)
  assert -1.06 < ratio.min() < -0.95 and 0.95 < ratio.max() < 1.06
  # Small boxes always fit: there both are uniform.
  small = area < 0.15
  assert abs(ratio[small].mean()) < 0.06
  assert abs(ratio[small].std() - 3**-0.5) < 0.03
  expected = (0.08 - 0.02) / (0.14 - 0.02)
  assert abs((area < 0.08).sum() / (area < 0.14).sum() - expected) < 0.06


@pytest.mark.parametrize("fill", ["pixel", "const"])
def test_a_box_of_all_frames_is_filled(fill):
  frames = np.full((30, 60, 60, 3), 17, np.uint8)
  found = np.asarray(erase(jax.random.key(1), frames, 1.0, fill))
  changed = (found != frames).any(axis=-1)
  rows, columns = (np.flatnonzero(changed.any(axis=(0, a))) for a in (2, 1))
  top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
  assert 0.015 < (bottom - top) * (right - left) / 3600 < 0.35
  inside = found[:, top:bottom, left:right].astype(float)
  outside = np.ones((60, 60), bool)
  outside[top:bottom, left:right] = False
  assert (found[:, outside] == 17).all()
  mean = 255 * np.asarray([0.485, 0.456, 0.406])
  if fill == "const":
    np.testing.assert_array_equal(
      inside, np.broadcast_to(np.round(mean), inside.shape)
    )
    return
  assert changed[:, top:bottom, left:right].mean() > 0.97
  by_channel = inside.reshape(-1, 3)
  # A normal cut off at 0 and 255 is a little narrower.
  assert np.abs(by_channel.mean(axis=0) - mean).max() < 3
  std = by_channel.std(axis=0)
  assert (std > 50).all() and (std < 58).all()
  assert (inside[0] != inside[1]).mean() > 0.95  # noise of its own


def test_the_probability_is_kept():
  frames = jnp.zeros((1, 12, 12, 3), jnp.uint8)
  keys = jax.random.split(jax.random.key(0), 800)

  @functools.partial(jax.jit, static_argnums=1)
  def erased(keys, prob):
    return jax.lax.map(
      lambda key: erasing.erase(key, frames, prob, "const").any(), keys
    )

  assert 0.2 < np.asarray(erased(keys, 0.25)).mean() < 0.3
  assert not np.asarray(erased(keys, 0.0)).any()
