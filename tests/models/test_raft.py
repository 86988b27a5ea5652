"""RAFT-small: its window, its cost, bfloat16. tests/interop has its numbers."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax.bench import flops
from sigma_jax.interop import flow_network, golden_case
from sigma_jax.models import correlations, modules, raft

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "mgmae"


@functools.cache
def network(dtype="float32"):
  """With weights as the golden cases have them."""
  arrays = {
    name: golden_case.weight(name, shape)
    for name, shape in flow_network.published_shapes().items()
  }
  tree = flow_network.convert(arrays, jnp.dtype(dtype))
  made = modules.abstract(lambda _: raft.RaftSmall(dtype=jnp.dtype(dtype)))
  return modules.merge(made.graph, {}, tree)


def test_a_window_has_x_slowest_and_zeros_outside():
  """Of a map of row and column numbers, around a place between pixels."""
  rows, columns = np.mgrid[:16, :20].astype(np.float32) + 1
  for values, of_x in ((rows, False), (columns, True)):
    level = jnp.broadcast_to(values, (1, 16, 20, 16, 20))
    flow = np.zeros((1, 16, 20, 2), np.float32)
    flow[0, 8, 9] = [0.25, -0.5]
    flow[0, 8, 10] = [9, 0]  # to the last column: what follows is outside
    found = correlations.looked_up([level], jnp.asarray(flow))
    window = np.asarray(found).reshape(16, 20, 7, 7)
    steps = np.arange(-3, 4)
    want = 10.25 + steps if of_x else 8.5 + steps
    want = np.broadcast_to(want[:, None] if of_x else want, (7, 7))
    np.testing.assert_allclose(window[8, 9], want, atol=1e-5)
    assert (window[8, 10, 4:] == 0).all()
    assert (window[8, 10, :4] > 0).all()


def test_means_leave_out_odd_rows_and_columns():
  features = [
    jax.random.normal(jax.random.key(i), (1, 17, 19, 4)) for i in (0, 1)
  ]
  levels = correlations.pyramid(*features)
  shapes = [level.shape[3:] for level in levels]
  assert shapes == [(17, 19), (8, 9), (4, 4), (2, 2)]
  whole = np.asarray(levels[0])[..., :8, :8].mean((3, 4))
  np.testing.assert_allclose(levels[3][..., 0, 0], whole, atol=1e-6)


def test_still_places_keep_their_corners():
  """Enlarged by 8: corners on corners, and in pixels of the frame."""
  flow = np.random.RandomState(0).normal(size=(2, 5, 7, 2)).astype(np.float32)
  large = np.asarray(raft.enlarged(jnp.asarray(flow)))
  assert large.shape == (2, 40, 56, 2)
  for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
    np.testing.assert_allclose(
      large[:, row, column], 8 * flow[:, row, column], atol=1e-5
    )


@pytest.mark.parametrize(("iterations", "giga"), [(6, 9.4), (1, 2.5)])
def test_what_a_pair_costs(iterations, giga):
  """At 224 pixels: 1.4 GFLOP an iteration, .3 for each of three encodings."""
  frames = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8)
  run = functools.partial(network(), iterations=iterations)
  found = flops.matmul_flops(run, frames, frames) / 1e9
  assert found == pytest.approx(giga, abs=0.1)


def test_bfloat16_is_near_float32():
  case = np.load(GOLDEN / "raft_small.npz")
  pair = case["first"][None], case["second"][None]
  half = network("bfloat16")(*pair, 3)
  full = network()(*pair, 3)
  assert half.dtype == full.dtype == jnp.float32
  error = np.abs(half - full).mean() / np.abs(full).mean()
  assert 1e-5 < error < 0.05
