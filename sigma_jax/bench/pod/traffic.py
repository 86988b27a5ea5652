"""Bytes that a compiled step moves to and from a chip's main memory (HBM).

XLA's "bytes accessed" counts loops once and on-chip buffers like any other.
Here the optimised HLO is read: each instruction's operands and results as often
as it runs, without those that the compiler put in on-chip memory, and of an
array that is sliced or updated in place only the part. Padding is left out.
"""

import math

from sigma_jax.bench.pod import collectives, hlo, parts

# They move nothing by themselves: names for what is there, or the second half
# of what is counted at its start.
_FREE = {
  *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
  *("while", "conditional", "call", "after-all", "partition-id"),
  *("replica-id", "optimization-barrier", "async-start"),
}
_FREE_CALLS = ("ConcatBitcast", "AssumeGatherIndicesInBound", "AllocateBuffer")
_SLICES = ("slice", "dynamic-slice", "gather")
_ELEMENTWISE = ("bitcast", "convert", "copy", "reshape", "transpose")


def hbm_bytes(
  module: hlo.Module, once: list[str] | None = None
) -> dict[str, float]:
  """Bytes read plus bytes written by one device in a run, by part of the step.

  Parts without any are left out; see `parts`. once: see `hlo.runs`.

  Raises:
    ValueError: a loop's number of turns cannot be read.
  """
  total: dict[str, float] = {}
  for name, ways in hlo.runs(module, once).items():
    computation = module.computations[name]
    turns = sum(math.prod(loops) for loops in ways)
    of = parts.of_computation(computation)
    for instruction in computation.values():
      moved = turns * _moved(module, computation, instruction)
      if moved:
        part = of[instruction.name]
        total[part] = total.get(part, 0.0) + moved
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
  name = instruction.called[0]
  inside = module.computations[name]
  started = [i for i in inside.values() if collectives.starts(i)]
  total = sum(_main(i.arrays) for i in started)
  for inner in inside.values():
    if inner.opcode == "parameter" and not _only_passes(inside, inner.name):
      arrays = given[int(inner.literal)]
      total += _main(arrays)
      if len(arrays) == 1 and _main(arrays):
        elements = math.prod(arrays[0].shape)
        read = _elements_read(module, name, inner.name)
        if read is not None and read < elements:
          total += math.ceil(arrays[0].nbytes * read / elements)
          total -= arrays[0].nbytes
  root = next(i for i in inside.values() if i.root)
  results = [root]
  if root.opcode == "tuple":
    results = [inside[operand] for operand in root.operands]
  elif _is_collective_call(root):
    results = []
  for array, made in zip(instruction.arrays, results, strict=False):
    if made.opcode != "parameter" and not collectives.is_spread(made):
      total += _main([_written(module, inside, made, array)])
  return total


def _only_passes(inside, name: str) -> bool:
  """Whether a fusion hands an operand on as it is.

  A collective that runs beside the work of several fusions goes through all of
  them as an operand and a result; its bytes are counted where it starts.
  """
  users = [user for user in inside.values() if name in user.operands]
  return bool(users) and all(
    (user.root and (user.opcode == "tuple" or _is_collective_call(user)))
    or (collectives.is_spread(user) and not collectives.starts(user))
    for user in users
  )


def _is_collective_call(instruction: hlo.Instruction) -> bool:
  return (
    instruction.opcode == "custom-call"
    and 'target="AsyncCollective' in instruction.rest
  )


def _elements_read(module, computation: str, name: str) -> int | None:
  """How many of an array's elements a fusion reads; None where all of them.

  A fusion computes what it needs of an intermediate array: of one that is only
  sliced, the slice.
  """
  total = 0
  for user in module.computations[computation].values():
    for place, operand in enumerate(user.operands):
      if operand != name:
        continue
      if user.opcode in _SLICES and place == 0:
        read = math.prod(user.arrays[0].shape)
      elif user.opcode in _ELEMENTWISE:
        read = _elements_read(module, computation, user.name)
      elif user.opcode == "fusion":
        read = _elements_read(module, *_parameter(module, user, place))
      elif user.opcode == "dynamic-update-slice" and place == 0:
        read = 0  # in place
      else:
        read = None
      if read is None:
        return None
      total += read
  return total


def _parameter(module, fusion: hlo.Instruction, place: int) -> tuple[str, str]:
  """A nested fusion's computation and its name for the operand at `place`."""
  computation = fusion.called[0]
  for inner in module.computations[computation].values():
    if inner.opcode == "parameter" and int(inner.literal) == place:
      return computation, inner.name
  raise ValueError(f"%{computation} has no parameter {place}")


def _written(module, inside, made: hlo.Instruction, array: hlo.Array):
  """The part of a fusion's result that is written."""
  while made.opcode in (*_ELEMENTWISE, "fusion"):
    if made.opcode == "fusion":
      inside = module.computations[made.called[0]]
      made = next(i for i in inside.values() if i.root)
    elif made.operands[0] in inside:
      made = inside[made.operands[0]]
  if made.opcode != "dynamic-update-slice":
    return array
  update = inside[made.operands[1]].arrays[0]
  return array._replace(shape=update.shape)
