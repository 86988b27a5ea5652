"""How the loss is computed: in what tiles, with kernels kept or not."""

import math
from typing import NamedTuple

# A tile is as long as its float32 scores take this much memory. On CPU it is
# to stay in the last cache level (measured: 2 to 16 MB are alike, 1 MB and the
# whole matrix slower); accelerators want few, large products.
_TILE_BYTES = {"cpu": 2**22}
_TILE_BYTES_ACCELERATOR = 2**26
# Both sides' kernels are kept where they take less than this on a device.
_KEEP_BYTES = {"cpu": 2**32}
_KEEP_BYTES_ACCELERATOR = 2**30


class Plan(NamedTuple):
  """The static side of the loss: `make` draws it up from the run's options.

  epsilon, rounds: of the transport problem.
  temperature: of the predicted distributions.
  labels: "hard" or "soft".
  keep: whether kernels are stored; else each round recomputes them.
  tiles: into how many tiles a device's tubes are cut.
  log_space: whether kernels and potentials are logarithms, see `fits`.
  dtype: of the operands of matrix products; sums are float32.
  groups: numbers of nodes of the levels above the prototypes, coarsest first;
    see `losses.levels`. Empty: the prototypes alone.
  weights: of each level's cross-entropy, the prototypes' last, of sum 1.
  """

  epsilon: float
  rounds: int
  temperature: float
  labels: str
  keep: bool
  tiles: int
  log_space: bool
  dtype: str
  groups: tuple[int, ...] = ()
  weights: tuple[float, ...] = (1.0,)


def fits(epsilon: float, temperature: float, num_tubes: int) -> bool:
  """Whether float32 holds kernels, potentials, predictions as plain numbers.

  Scores lie in [-1, 1], so the kernel exp((score - 1) / epsilon) is at least
  exp(-2 / epsilon), a tube's scaling at most its inverse, and a prototype's
  mass at most `num_tubes` of those. A prediction is at least
  exp(-2 / temperature).
  """
  most = max(2.0 / epsilon + math.log(num_tubes), 2.0 / temperature)
  return most < 85.0


def make(
  *,
  num_tubes: int,
  num_devices: int,
  num_prototypes: int,
  platform: str,
  epsilon: float,
  rounds: int,
  temperature: float,
  labels: str,
  kernels: str,
  dtype: str,
  groups: tuple[int, ...] = (),
  weights: tuple[float, ...] = (1.0,),
) -> Plan:
  """How to compute the loss of a batch.

  Args:
    num_tubes: B = b m of the global batch.
    num_devices: over which they are spread evenly.
    num_prototypes: k.
    platform: of the devices: cpu, gpu or tpu.
    epsilon, rounds, temperature, labels: as `assignment.loss`.
    kernels: "keep", "recompute", or "auto": keep while they are small.
    dtype: of the operands of matrix products, "float32" or "bfloat16".
    groups, weights: see `Plan`.
  """
  row_bytes = 4 * num_prototypes
  tubes = num_tubes // num_devices
  tile = _TILE_BYTES.get(platform, _TILE_BYTES_ACCELERATOR)
  limit = _KEEP_BYTES.get(platform, _KEEP_BYTES_ACCELERATOR)
  keep = 2 * tubes * row_bytes <= limit
  return Plan(
    epsilon=epsilon,
    rounds=rounds,
    temperature=temperature,
    labels=labels,
    keep=keep if kernels == "auto" else kernels == "keep",
    tiles=_num_tiles(tubes, tile // row_bytes),
    log_space=not fits(epsilon, temperature, num_tubes),
    dtype=dtype,
    groups=groups,
    weights=weights,
  )


def _num_tiles(tubes: int, rows: int) -> int:
  """Tiles of about `rows` tubes; without a rest where that can be had."""
  least = min(math.ceil(tubes / max(rows, 1)), tubes)
  even = (n for n in range(least, 2 * least + 1) if tubes % n == 0)
  return next(even, least)
