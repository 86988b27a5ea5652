"""Device grids, what is sharded, and that devices change no number."""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from sigma_jax import settings as settings_lib
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import host


def mesh_of(data, fsdp, num_devices=8):
  return mesh_lib.make(
    settings_lib.Mesh(data, fsdp), jax.devices()[:num_devices]
  )


@pytest.mark.parametrize(
  ("data", "fsdp", "shape"),
  [
    *[(-1, 1, (8, 1)), (2, 4, (2, 4)), (-1, 4, (2, 4)), (1, -1, (1, 8))],
    *[(-1, 0, (1, 8)), (4, 0, (4, 2))],  # as nothing is said, and half of it
  ],
)
def test_grid_of_devices(data, fsdp, shape):
  mesh = mesh_of(data, fsdp)
  assert mesh.devices.shape == shape
  assert mesh.axis_names == ("data", "fsdp")


@pytest.mark.parametrize(
  ("data", "fsdp"), [(4, 1), (3, -1), (-1, -1), (0, -1), (16, 1), (-2, -4)]
)
def test_sizes_that_do_not_fit_are_refused(data, fsdp):
  with pytest.raises(ValueError) as caught:
    mesh_of(data, fsdp)
  message = str(caught.value)
  assert "mesh.data x mesh.fsdp must be the number of devices, 8" in message
  assert f"got {data} x {fsdp}" in message


class Chip:
  """What `jax.make_mesh` looks at in a TPU chip; four a process."""

  platform, device_kind, core_on_chip = "tpu", "TPU v4", 0

  def __init__(self, number, coords, slice_index):
    self.id, self.process_index = number, number // 4
    self.coords, self.slice_index = coords, slice_index


def torus(*sides, slices=1):
  places = [
    (place[::-1], number)
    for number in range(slices)
    for place in np.ndindex(*sides[::-1])
  ]
  return [Chip(i, *place) for i, place in enumerate(places)]


@pytest.mark.parametrize(
  ("sides", "slices", "fsdp"),
  [
    ((4, 4, 4), 1, 8),  # not sides of the torus
    ((4, 4, 4), 1, 16),
    ((4, 4, 8), 1, 2),
    ((4, 4, 4), 2, 8),
    ((2, 2, 1), 2, 8),  # over both slices
  ],
)
def test_grid_of_a_torus(sides, slices, fsdp):
  chips = torus(*sides, slices=slices)
  mesh = mesh_lib.make(settings_lib.Mesh(-1, fsdp), chips)
  assert mesh.devices.shape == (len(chips) // fsdp, fsdp)
  assert {chip.id for chip in mesh.devices.flat} == set(range(len(chips)))
  per_slice = len(chips) // slices
  for group in mesh.devices:
    assert len({c.slice_index for c in group}) == max(1, fsdp // per_slice)
    if fsdp < per_slice:  # neighbours, not chips from all over the torus
      coords = np.asarray([chip.coords for chip in group])
      assert np.prod(np.ptp(coords, axis=0) + 1) == fsdp


@pytest.mark.parametrize(
  ("sides", "slices", "platform", "fsdp"),
  [
    ((4, 4, 4), 1, "tpu", 16),
    ((2, 2, 1), 4, "tpu", 4),  # not over the network between slices
    ((4, 3, 3), 1, "tpu", 12),
    ((4, 4, 1), 1, "gpu", 4),  # those of a host
  ],
)
def test_parameters_are_split_over_devices_that_are_near(
  monkeypatch, sides, slices, platform, fsdp
):
  monkeypatch.setattr(Chip, "platform", platform)
  chips = torus(*sides, slices=slices)
  mesh = mesh_lib.make(settings_lib.Mesh(), chips)
  assert mesh.devices.shape == (len(chips) // fsdp, fsdp)
  for group in mesh.devices:
    assert len({chip.slice_index for chip in group}) == 1
    if platform == "gpu":
      assert len({chip.process_index for chip in group}) == 1


def test_rows_of_a_process_are_its_devices():
  """Of several processes: tests/train/test_hosts.py."""
  mesh = mesh_of(2, 4)
  np.testing.assert_array_equal(mesh_lib.rows(mesh, 16), np.arange(16))


def test_a_step_draws_the_same_in_any_order_of_devices(tiny, change):
  """One clip a device: partners of mixup are on two."""
  settings = change(tiny, data__flip=True, augment__num_ops=0)
  batch = next(host.batches(settings, 0, 0.0))
  order = [5, 0, 3, 6, 1, 7, 2, 4]
  crossed = mesh_lib.make(
    settings_lib.Mesh(2, 4), [jax.devices()[i] for i in order]
  )
  assert [d.id for d in crossed.devices.flat] == order
  wanted = host.draws(settings, mesh_of(1, 1, 1), batch)
  found = host.draws(settings, crossed, batch)
  for name, value in wanted.items():
    if name == "targets":
      np.testing.assert_allclose(found[name], value, atol=1e-6)
    else:
      np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_batch_that_devices_do_not_divide_is_refused():
  assert mesh_lib.host_batch(16, mesh_of(2, 4)) == 16
  with pytest.raises(ValueError, match=r"train.batch_size .* 8 devices, got 1"):
    mesh_lib.host_batch(12, mesh_of(2, 4))


def test_what_is_sharded():
  shapes = {
    "large": jax.ShapeDtypeStruct((256, 512), np.float32),
    "tall": jax.ShapeDtypeStruct((1024, 64), np.float32),
    "stacked": jax.ShapeDtypeStruct((12, 64, 256), np.float32),
    "odd": jax.ShapeDtypeStruct((257, 511), np.float32),
    "half odd": jax.ShapeDtypeStruct((256, 511), np.float32),
    "small": jax.ShapeDtypeStruct((128, 511), np.float32),
    "scalar": jax.ShapeDtypeStruct((), np.int32),
  }
  found = {
    name: tuple(sharding.spec)
    for name, sharding in mesh_lib.state_sharding(mesh_of(2, 4), shapes).items()
  }
  assert found == {
    "large": (None, "fsdp"),
    "tall": ("fsdp", None),
    "stacked": (None, None, "fsdp"),
    "odd": (None, None),
    "half odd": ("fsdp", None),
    "small": (None, None),
    "scalar": (),
  }
  for sharding in mesh_lib.state_sharding(mesh_of(8, 1), shapes).values():
    assert set(sharding.spec) <= {None}


def test_batches_are_split_over_both_axes():
  mesh = mesh_of(2, 4)
  array = np.arange(16 * 3).reshape(16, 3)
  put = mesh_lib.put_batch({"video": array}, mesh)["video"]
  assert put.sharding.spec == PartitionSpec(("data", "fsdp"))
  assert {shard.data.shape for shard in put.addressable_shards} == {(2, 3)}
  np.testing.assert_array_equal(put, array)


@functools.cache
def one_step(settings, mesh):
  """State before and after one step of plain descent, so that the difference
  is the gradient; and the metrics."""
  tx = optax.sgd(1.0)
  state = state_lib.create(settings, tx, mesh)
  shape = (8, 4, 16, 16, 3)
  video = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  step = steps.pretrain_step(
    settings, tx, lambda step: step.astype("float32"), mesh
  )
  step = steps.jit(step, mesh, state)
  batch = mesh_lib.put_batch({"video": video}, mesh)
  before = jax.tree.map(jnp.copy, state)  # the step consumes its own
  return before, *step(state, {}, batch)


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (2, 4)])
def test_eight_devices_compute_what_one_does(tiny, monkeypatch, data, fsdp):
  alone, alone_after, alone_metrics = one_step(tiny, mesh_of(1, 1, 1))
  monkeypatch.setattr(mesh_lib, "_MIN_SHARDED_SIZE", 64)
  state, after, metrics = one_step(tiny, mesh_of(data, fsdp))
  for name, value in alone_metrics.items():
    np.testing.assert_allclose(
      metrics[name], value, rtol=2e-6, atol=1e-7, err_msg=name
    )
  before = jax.tree.leaves_with_path(state.params)
  sharded = [leaf for _, leaf in before if "fsdp" in leaf.sharding.spec]
  assert len(sharded) >= (10 if fsdp > 1 else 0)
  assert all(not leaf.is_fully_replicated for leaf in sharded)
  for (path, a), b, b_alone, a_alone in zip(
    before,
    *map(jax.tree.leaves, (after.params, alone_after.params, alone.params)),
    strict=True,
  ):
    name = jax.tree_util.keystr(path)
    np.testing.assert_array_equal(a, a_alone, err_msg=name)
    grad, wanted = np.asarray(a - b), np.asarray(a_alone - b_alone)
    assert np.abs(wanted).max() > 1e-6
    # float32 differences of parameters, each of which is below 4.
    np.testing.assert_allclose(
      grad,
      wanted,
      atol=2e-5 * np.abs(wanted).max() + 5e-7,
      err_msg=name,
    )


def test_a_step_leaves_every_array_where_it_was(tiny, monkeypatch):
  """Otherwise the second step would compile anew, and memory would creep."""
  monkeypatch.setattr(mesh_lib, "_MIN_SHARDED_SIZE", 64)
  mesh = mesh_of(2, 4)
  before, after, _ = one_step(tiny, mesh)
  wanted = mesh_lib.state_sharding(mesh, before)
  for (path, a), b, rule in zip(
    jax.tree.leaves_with_path(before),
    jax.tree.leaves(after),
    jax.tree.leaves(wanted),
    strict=True,
  ):
    name = jax.tree_util.keystr(path)
    assert a.sharding.is_equivalent_to(rule, a.ndim), name
    assert b.sharding.is_equivalent_to(rule, b.ndim), (name, b.sharding, rule)
