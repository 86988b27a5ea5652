"""Bytes that a compiled step moves to and from a chip's main memory (HBM).

XLA's "bytes accessed" counts loops once and on-chip buffers like any other.
Here the optimised HLO is read: each instruction's operands and results as often
as it runs, without those that the compiler put in on-chip memory, and of an
array that is sliced or updated in place only the part. Padding is left out.
"""

import math

from sigma_jax.bench import collectives, hlo

# They move nothing by themselves: names for what is there, or the second half
# of what is counted at its start.
_FREE = {
  *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
  *("while", "conditional", "call", "after-all", "partition-id"),
  *("replica-id", "optimization-barrier", "async-start"),
}
_FREE_CALLS = ("ConcatBitcast", "AssumeGatherIndicesInBound", "AllocateBuffer")
_SLICES = ("slice", "dynamic-slice", "gather")


def hbm_bytes(module: hlo.Module) -> float:
  """Bytes read plus bytes written by one device in a run.

  Raises:
    ValueError: a loop's number of turns cannot be read.
  """
  total = 0.0
  for name, ways in hlo.runs(module).items():
    computation = module.computations[name]
    once = sum(_moved(module, computation, i) for i in computation.values())
    total += once * sum(math.prod(loops) for loops in ways)
  return total


def _main(arrays) -> int:
  """Bytes of those arrays that are in main memory."""
  return sum(array.nbytes for array in arrays if array.memory == 0)


def _moved(module, computation, instruction) -> int:
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith("-done"):
    return 0
  if opcode == "custom-call" and any(
    n in instruction.rest for n in _FREE_CALLS
  ):
    return 0
  given = [
    computation[name].arrays
    for name in instruction.operands
    if name in computation
  ]
  if opcode == "fusion":
    return _fusion(module, instruction, given)
  if opcode == "copy-start":
    return _main(instruction.arrays[:2])  # to and from
  if opcode == "slice-start":
    source, part = given[0][0], instruction.arrays[len(given[0])]
    return _main([part, part._replace(memory=source.memory)])
  if opcode in _SLICES:
    made = instruction.arrays[0]
    source = made._replace(memory=given[0][0].memory)
    return _main([made, source])
  if opcode == "dynamic-update-slice":
    update = given[1][0]
    there = update._replace(memory=instruction.arrays[0].memory)
    return _main([update, there])
  made = instruction.arrays
  kind = opcode.removesuffix("-start")
  if kind in collectives.KINDS and opcode != kind and kind != "all-reduce":
    made = made[sum(map(len, given)) :]
  return _main(made) + sum(map(_main, given))


def _fusion(module, instruction, given) -> int:
  """A fusion reads its operands and writes its results, whole or in part."""
  inside = module.computations[instruction.called[0]]
  users: dict[str, list[hlo.Instruction]] = {}
  for inner in inside.values():
    for name in inner.operands:
      users.setdefault(name, []).append(inner)
  total = 0
  for inner in inside.values():
    if inner.opcode == "parameter":
      arrays = given[int(inner.literal)]
      part = _part_read(inside, users, inner.name)
      whole = _main(arrays)
      total += whole if part is None or not whole else min(part, whole)
  root = next(i for i in inside.values() if i.root)
  results = [root]
  if root.opcode == "tuple":
    results = [inside[name] for name in root.operands]
  for array, made in zip(instruction.arrays, results, strict=False):
    total += _main([_written(inside, made, array)])
  return total


def _part_read(inside, users, name: str) -> int | None:
  """Bytes of a fusion's operand that are read; None where it is all of it."""
  total = 0
  for user in users.get(name, []):
    first = user.operands[0] == name
    if user.opcode in _SLICES and first and user.operands.count(name) == 1:
      total += user.arrays[0].nbytes
    elif user.opcode == "bitcast":
      part = _part_read(inside, users, user.name)
      if part is None:
        return None
      total += part
    elif user.opcode != "dynamic-update-slice" or not first:
      return None
  return total


def _written(inside, made: hlo.Instruction, array: hlo.Array) -> hlo.Array:
  """The part of a fusion's result that is written."""
  while made.opcode == "bitcast":
    made = inside[made.operands[0]]
  if made.opcode != "dynamic-update-slice":
    return array
  update = inside[made.operands[1]].arrays[0]
  return update._replace(memory=array.memory)
