"""Devices as a grid, and which array is on which device.

Row i of a batch on the devices is clip i of the global batch, on every grid.
`jax.make_mesh` orders devices by how they are connected and not by process. So
each process provides the clips of its own devices, see `rows`. What comes back
has that order too, not the order of processes, see `everywhere`.

There are two axes. The batch is split over `data` x `fsdp`, parameters and
optimiser state over `fsdp`. One device is the case 1 x 1. XLA inserts the
communication between devices (axis type Auto), so the same step runs on all
grids.
"""

import collections
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sigma_jax import errors
from sigma_jax import settings as settings_lib

BATCH_AXES = ("data", "fsdp")
# Devices that parameters are split over where nothing is asked for. What a chip
# of v5e moves for AdamW of ViT-B falls from 2.0 GB a step to 0.15; more devices
# save little more, and their gathers wait for more of them.
_FSDP = 16
# Sharding smaller arrays costs a gather's latency and saves no memory.
_MIN_SHARDED_SIZE = 2**16


def make(mesh: settings_lib.Mesh, devices=None) -> jax.sharding.Mesh:
  """The run's device mesh.

  Args:
    mesh: `data` and `fsdp` sizes; one of them may be -1, what is left, and
      `fsdp` 0, see `settings.Mesh`.
    devices: defaults to all devices of all processes.

  Raises:
    UserError: the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = [mesh.data, mesh.fsdp]
  if mesh.fsdp == 0:
    sizes[1] = -1 if mesh.data != -1 else _near(devices)
  if sizes.count(-1) == 1:
    known = math.prod(size for size in sizes if size != -1)
    if known > 0:
      sizes[sizes.index(-1)] = len(devices) // known
  if min(sizes) < 1 or math.prod(sizes) != len(devices):
    raise errors.UserError(
      f"mesh.data x mesh.fsdp must be the number of devices, {len(devices)}, "
      f"got {mesh.data} x {mesh.fsdp} (-1 in one of them: what is left; 0 for "
      "fsdp: as many as are near each other)"
    )
  return _laid_out(tuple(sizes), devices)


def _near(devices) -> int:
  """The most devices, up to `_FSDP`, in groups with fast links inside."""
  groups = collections.Counter(map(_group, devices))
  size = math.gcd(*groups.values())
  return max(n for n in range(1, _FSDP + 1) if size % n == 0)


def _group(device) -> int:
  """Which slice of TPUs, or which host of GPUs, the device belongs to."""
  if device.platform == "gpu":
    return device.process_index
  return _slice(device)


def _slice(device) -> int:
  return getattr(device, "slice_index", 0)


def _laid_out(sizes: tuple[int, int], devices) -> jax.sharding.Mesh:
  """The grid in which neighbours along `fsdp` are close to each other."""
  types = (AxisType.Auto,) * 2

  slices = len(set(map(_slice, devices)))
  if slices == 1:
    try:
      return jax.make_mesh(sizes, BATCH_AXES, axis_types=types, devices=devices)
    except NotImplementedError:
      # No sides of the torus multiply to these sizes, as 8 of 4 x 4 x 4.
      grid = mesh_utils.create_device_mesh(
        sizes, devices, allow_split_physical_axes=True
      )
  elif sizes[0] % slices == 0:
    # Parameters stay within a slice: between them the network is slow.
    grid = mesh_utils.create_hybrid_device_mesh(
      (sizes[0] // slices, sizes[1]),
      (slices, 1),
      devices,
      allow_split_physical_axes=True,
    )
  else:
    grid = np.asarray(sorted(devices, key=_slice)).reshape(sizes)
  return jax.sharding.Mesh(grid, BATCH_AXES, axis_types=types)


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Leading axis over all devices."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def over_batch(mesh: jax.sharding.Mesh) -> Callable:
  """Turns functions of one device's rows into functions of the whole batch.

  Returns:
    spread(function, split_in, split_out): `function` gets the names of the
    mesh axes that the batch is split over, for its own collectives, and then
    one device's share of every argument. `split_in` and `split_out` are
    pytrees of booleans for its arguments and results: True where the leading
    axis is split, False where every device has the same.
  """

  def specs(split):
    return jax.tree.map(
      lambda yes: PartitionSpec(BATCH_AXES) if yes else PartitionSpec(), split
    )

  def spread(function, split_in, split_out):
    return jax.shard_map(
      functools.partial(function, BATCH_AXES),
      mesh=mesh,
      in_specs=specs(split_in),
      out_specs=specs(split_out),
      check_vma=False,
    )

  return spread


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def state_sharding(mesh: jax.sharding.Mesh, shapes: Any) -> Any:
  """Sharding of every array of a state, by shape.

  The largest axis that `fsdp` divides is split over it; arrays below 65,536
  elements, among them all biases and norms, are copied.

  Args:
    mesh: from `make`.
    shapes: pytree of arrays or ShapeDtypeStructs.

  Returns:
    The same pytree with a NamedSharding at every leaf.
  """
  fsdp = mesh.shape["fsdp"]

  def rule(leaf):
    spec = [None] * leaf.ndim
    fitting = [i for i in range(leaf.ndim) if leaf.shape[i] % fsdp == 0]
    if fsdp > 1 and leaf.size >= _MIN_SHARDED_SIZE and fitting:
      spec[max(fitting, key=lambda i: leaf.shape[i])] = "fsdp"
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree.map(rule, shapes)


def whole(params: Any, mesh: jax.sharding.Mesh | None) -> Any:
  """Parameters whole on every device, to compute with; used inside jit.

  Without this, XLA splits the activations as the parameters are split and sends
  them between devices, the more the more clips there are (it did when compiled
  for TPUs).

  Args:
    params: pytree, sharded as `state_sharding` says.
    mesh: of the run; None where there is one device.
  """
  if mesh is None or mesh.shape["fsdp"] == 1:
    return params
  return jax.lax.with_sharding_constraint(params, replicated(mesh))


def shares(grads: Any, mesh: jax.sharding.Mesh | None) -> Any:
  """Gradients by `whole` parameters, summed where the parameters live."""
  if mesh is None or mesh.shape["fsdp"] == 1:
    return grads
  return jax.lax.with_sharding_constraint(grads, state_sharding(mesh, grads))


def host_batch(
  batch_size: int, mesh: jax.sharding.Mesh, accumulate: int = 1
) -> int:
  """Clips of each global batch that this process has to provide.

  Args:
    batch_size: clips over all devices.
    mesh: of the run.
    accumulate: parts that each device runs its clips in.

  Raises:
    UserError: the devices, or the parts, do not divide the batch.
  """
  if batch_size % mesh.size:
    raise errors.UserError(
      f"train.batch_size must be divisible by the {mesh.size} devices, "
      f"got {batch_size}"
    )
  if batch_size // mesh.size % accumulate:
    raise errors.UserError(
      f"train.accumulate must divide the {batch_size // mesh.size} clips that "
      f"each of the {mesh.size} devices gets, got {accumulate}"
    )
  return batch_size // jax.process_count()


def rows(mesh: jax.sharding.Mesh, batch_size: int) -> np.ndarray:
  """Places in the global batch that this process's devices hold.

  Args:
    mesh: of the run.
    batch_size: b, over all devices; they divide it.

  Returns:
    int64, ascending: what this process is to provide to `put_batch`. The
    processes' places together are 0 .. b - 1, each once.
  """
  places = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  return np.sort(
    np.concatenate([np.arange(batch_size)[index] for index in places.values()])
  )


def put_batch(batch: dict[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict:
  """This process's rows of a batch as global arrays on the mesh.

  They are those of `rows`, in this order, wherever the order matters.
  """
  sharding = batch_sharding(mesh)
  return {
    name: jax.make_array_from_process_local_data(sharding, value)
    for name, value in batch.items()
  }


@functools.lru_cache(maxsize=4)  # compiled once
def _copies(mesh: jax.sharding.Mesh) -> Callable:
  return jax.jit(lambda arrays: arrays, out_shardings=replicated(mesh))


def everywhere(arrays: Any, mesh: jax.sharding.Mesh) -> Any:
  """What is split over the devices, whole on every process.

  This is how to know which clip a row of a result belongs to: only what went to
  the devices together has one order.

  Args:
    arrays: from `put_batch`, or computed from it.
    mesh: of the run.

  Returns:
    NumPy arrays, their rows in the order of the mesh.
  """
  return jax.tree.map(np.asarray, _copies(mesh)(arrays))


def on_all_devices(arrays: Any, mesh: jax.sharding.Mesh) -> Any:
  """What is split over the devices, whole on each of them.

  It may share memory with `arrays`: use it before those are donated.
  """
  return _copies(mesh)(arrays)


def gather(arrays: Any) -> Any:
  """All processes' rows of host arrays, on every process, process by process.

  Not for what belongs to clips, because the mesh has another order.
  """
  if jax.process_count() == 1:
    return arrays
  return multihost_utils.process_allgather(arrays, tiled=True)
