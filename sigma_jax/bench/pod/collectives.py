"""What chips send to each other in a compiled step, from its optimised HLO."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from sigma_jax.bench.pod import hlo

KINDS = (
  *("all-reduce", "all-gather", "reduce-scatter", "all-to-all"),
  *("ragged-all-to-all", "collective-permute", "collective-broadcast"),
)
PURPOSES = (*("gradients", "parameters", "assignment", "metrics", "other"),)
# Elements from which on an array is a parameter's or suspect: `purpose`.
_LARGE = 2**16


class Collective(NamedTuple):
  """One array of a collective, as often as it is sent in a run.

  kind: of KINDS. array: its larger side on one device: of an all-gather what
  comes out, of a reduce-scatter what goes in. count: a run. group: devices
  that take part together. loop: turns of the loops around it, "" or "9" or
  "3 x 12". op_name: as `hlo.Instruction.op_name`.
  """

  kind: str
  array: hlo.Array
  count: int
  group: int
  loop: str
  op_name: str

  @property
  def nbytes(self) -> int:
    """Of the array, all times it is sent in a run."""
    return self.count * self.array.nbytes

  @property
  def sent(self) -> float:
    """Bytes that leave a device by the algorithm that sends the fewest."""
    others = (self.group - 1) / self.group
    factors = {"all-reduce": 2 * others, "collective-permute": 1.0}
    return self.nbytes * factors.get(self.kind, others)


def find(module: hlo.Module, once: list[str] | None = None) -> list[Collective]:
  """All collectives of a run, one entry for every array and place.

  once: see `hlo.runs`.

  Raises:
    ValueError: a loop's turns or a collective's groups cannot be read.
  """
  found = []
  for name, ways in hlo.runs(module, once).items():
    for computation, instruction, fusion in _inside(module, name):
      if is_spread(instruction) and not starts(instruction):
        continue
      for loops in ways:
        found += _of(computation, instruction, fusion, loops)
  return found


def is_spread(instruction: hlo.Instruction) -> bool:
  """Whether it is a collective that runs beside the work of several fusions.

  It stands in each of them: only its start counts.
  """
  return "async_collective_fusion_config" in instruction.rest


def starts(instruction: hlo.Instruction) -> bool:
  """Whether a collective that is spread over fusions starts in this one."""
  return is_spread(instruction) and '"flag_start":"-1"' in instruction.rest


def purpose(collective: Collective, sizes: frozenset[int]) -> str:
  """What it is for: one of PURPOSES.

  assignment: the k-vectors of Sinkhorn's rounds and the scalar loss: what the
  loss's shard_map sums, but for the prototypes' gradient. parameters: gathered
  under fsdp. metrics: figures for the log, and the loss where it is L2.
  other: large arrays of no parameter's size: activations, which must not
  be sent, or a parameter's shards with padding.

  Args:
    collective: from `find`.
    sizes: elements of the parameters, of their layers and shards.
  """
  array, op_name = collective.array, collective.op_name
  elements = math.prod(array.shape)
  if elements >= _LARGE and elements not in sizes:
    return "other"
  if collective.kind == "all-gather":
    return "parameters"
  if "/shard_map/" in op_name:
    return "gradients" if len(array.shape) > 1 else "assignment"
  if "transpose(" in op_name or collective.kind == "reduce-scatter":
    return "gradients"
  return "metrics"


def _inside(module: hlo.Module, name: str, fusion=None) -> Iterator[tuple]:
  """A computation's collectives, and the fusion that they stand in or None."""
  computation = module.computations[name]
  for instruction in computation.values():
    if instruction.opcode.removesuffix("-start") in KINDS:
      yield computation, instruction, fusion
    elif instruction.opcode == "fusion":
      for inner in instruction.called:
        yield from _inside(module, inner, instruction)


def _of(computation, instruction, fusion, loops) -> list[Collective]:
  kind = instruction.opcode.removesuffix("-start")
  given = [
    array
    for name in instruction.operands
    if name in computation
    for array in computation[name].arrays
  ]
  made = list(instruction.arrays)
  if instruction.opcode.endswith("-start") and kind != "all-reduce":
    made = made[len(given) :]  # the operands stand in front
  names = _op_names(computation, instruction, len(given))
  if fusion is not None:
    names = [name or fusion.op_name for name in names]
    if "all-reduce-scatter" in fusion.rest:  # the TPU's name for it
      kind = "reduce-scatter"
  group = _group(instruction.rest)
  return [
    Collective(
      kind=kind,
      array=max(pair, key=lambda array: array.nbytes),
      count=math.prod(loops),
      group=group,
      loop=" x ".join(map(str, loops)),
      op_name=op_name,
    )
    for *pair, op_name in zip(given, made, names, strict=False)
  ]


def _op_names(computation, instruction, number: int) -> list[str]:
  """Where each array comes from: XLA joins collectives of different origin.

  The instruction has the name of one; those that take the results apart have
  the names of each.
  """
  names = [instruction.op_name] * number
  if number == 1:
    return names
  ends = {instruction.name}
  for user in computation.values():
    if user.opcode.endswith("-done") and ends & set(user.operands):
      ends.add(user.name)
    if user.opcode == "get-tuple-element" and ends & set(user.operands):
      index = int(re.search(r"index=(\d+)", user.rest)[1])
      names[index] = user.op_name or names[index]
  return names


def _group(rest: str) -> int:
  """Devices that exchange data among themselves.

  In three writings: {{0,1},{2,3}}; [groups,devices]<=[...]; and
  mesh['a'=2,'b'=4] {'a'}, the devices along some axes of a mesh.
  """
  if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
    return found[1].count(",") + 1
  if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", rest):
    return int(found[1])
  if found := re.search(r"replica_groups=mesh\[(.*?)\][^{]*\{(.*?)\}", rest):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
    axes = [axis.strip(" '") for axis in found[2].split(",")]
    if set(axes) <= set(sizes):
      return math.prod(int(sizes[axis]) for axis in axes)
  if found := re.search(r"source_target_pairs=\{(\{.*?\})\}", rest):
    return found[1].count("{")
  raise ValueError(f"cannot read the groups of a collective: {rest[:200]}")
