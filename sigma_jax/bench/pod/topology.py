"""TPU topologies to compile for on a machine without a TPU.

The TPU compiler is in the package libtpu, and needs no chip to compile. This
module imports no jax at its top: `prepare` has to run before that import.
"""

import importlib.util
import os
from typing import NamedTuple

from sigma_jax import errors


class Chip(NamedTuple):
  """Published facts of one chip.

  flops: bfloat16, a second. hbm: bytes. hbm_rate: bytes a second. ici_rate:
  bytes a second that leave the chip over all its links to other chips, half
  of what is published as bidirectional.
  """

  flops: float
  hbm: float
  hbm_rate: float
  ici_rate: float


# https://docs.cloud.google.com/tpu/docs/v4 and, for its links (6 of 50 GB/s),
#   https://arxiv.org/abs/2304.01433
# https://docs.cloud.google.com/tpu/docs/v5e (16 GB, 819 GBps, ICI 400 GBps)
# https://docs.cloud.google.com/tpu/docs/v5p-training (95 GiB, ICI 1200 GBps)
# https://docs.cloud.google.com/tpu/docs/v6e (32 GB, 1638 GBps, ICI 800 GBps)
CHIPS = {
  "v4": Chip(275e12, 32 * 2.0**30, 1200e9, 300e9),
  "v5e": Chip(197e12, 16e9, 819e9, 200e9),
  "v5p": Chip(459e12, 95 * 2.0**30, 2765e9, 600e9),
  "v6e": Chip(918e12, 32e9, 1638e9, 400e9),
}
# Slices of a v5e or v6e pod by their number of chips.
_SLICES = {
  **{1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8"},
  **{64: "8x8", 128: "8x16", 256: "16x16"},
}


def prepare() -> None:
  """Sets JAX up to compile for TPUs from here: before any device is touched.

  Raises:
    UserError: libtpu is not installed.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise errors.UserError(
      "the TPU compiler is not installed: "
      "pip install -r requirements-tpu-compile.txt"
    )
  # JAX would look for a TPU where libtpu is installed, and libtpu for the
  # machine that it is part of: minutes on a machine that has neither.
  os.environ["JAX_PLATFORMS"] = "cpu"
  os.environ["TPU_SKIP_MDS_QUERY"] = "1"
  # Without these two it warns that it found neither; no topology reads them.
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
  # Nothing is locked: another process may compile or train at the same time.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  import jax

  jax.config.update("jax_platforms", "cpu")


def chip(name: str) -> Chip:
  """Facts of a topology's chip: `chip("v5e:16x16")`.

  Raises:
    UserError: a kind that is not in `CHIPS`.
  """
  kind = name.partition(":")[0]
  if kind not in CHIPS:
    raise errors.UserError(
      f"no facts about the chips of topology {name!r}: known are "
      f"{', '.join(CHIPS)}, as in v5e:16x16"
    )
  return CHIPS[kind]


def devices(name: str) -> list:
  """One compile-only device a chip.

  Args:
    name: chip and grid, "v5e:16x16" or "v4:4x4x4".

  Raises:
    UserError: no such topology.
  """
  chip(name)
  import jax
  from jax.experimental import topologies

  kind, _, grid = name.partition(":")
  options = {}
  if set(grid.split("x")) == {"1"}:
    options["chips_per_host_bounds"] = [1, 1, 1]
  if kind == "v4":  # its two cores as one device, as they are run
    options["chip_config_name"] = "megacore"
  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name=name, **options
    )
  except jax.errors.JaxRuntimeError as error:
    raise errors.UserError(
      f"libtpu knows no topology {name!r}: {str(error).splitlines()[0]}"
    ) from error
  return list(found.devices)


def slice_of(kind: str, chips: int) -> str:
  """Topology with so many chips of v5e or v6e: `slice_of("v5e", 16)`.

  Raises:
    UserError: there is no slice of that size.
  """
  if chips not in _SLICES:
    raise errors.UserError(
      f"no slice of {kind} has {chips} chips: there are "
      f"{', '.join(map(str, _SLICES))}"
    )
  return f"{kind}:{_SLICES[chips]}"
