"""Which part of a step an instruction belongs to, by the names in its HLO.

The code names its parts with `jax.named_scope`, and XLA keeps such names in its
instructions' metadata, "jit(step)/transpose(jvp(encoder))/while/body/add".
"""

import re

from sigma_jax.bench.pod import collectives, hlo

# In the order of their claim: a target's encoder is the target's. "inputs" is
# what is made of the clips (masks, flow, augmentation), "target" a teacher too,
# "decoder" V-JEPA's predictor too, "head" what classifies.
PARTS = ("optimizer", "inputs", "loss", "target", "embedding", "decoder")
PARTS += ("head", "encoder")
COLLECTIVES, OTHER = "collectives", "other"
# What the compiler adds has no name of its own: so far away is looked for one.
_REACH = 6


def of_name(op_name: str) -> str | None:
  """The part that a name says, None where it says none."""
  words = set(re.findall(r"\w+", op_name))
  return next((part for part in PARTS if part in words), None)


def of_computation(
  computation: dict[str, hlo.Instruction],
) -> dict[str, str]:
  """Instruction -> its part, COLLECTIVES or OTHER.

  What has no name, such as a copy to the chip's own memory, is of the nearest
  part that uses it or made it, or else that the loop around it is of.
  """
  users: dict[str, list[str]] = {}
  for instruction in computation.values():
    for operand in instruction.operands:
      users.setdefault(operand, []).append(instruction.name)
  found = {}
  for name, instruction in computation.items():
    kind = re.sub(r"-(start|done)$", "", instruction.opcode)
    spread = name.startswith("async-collective-")  # over several fusions
    if kind in collectives.KINDS or spread:
      found[name] = COLLECTIVES
    elif part := of_name(instruction.op_name):
      found[name] = part
  said = set(found.values()) - {COLLECTIVES}
  # A loop's body is of one part; the whole program is of all.
  alone = said.pop() if len(said) == 1 else OTHER

  def nearest(name: str) -> str:
    fronts, seen = ([name], [name]), {name}
    for _ in range(_REACH):
      # Users come first: a weight is fetched for what reads it.
      fronts = (
        [user for at in fronts[0] for user in users.get(at, ())],
        [made for at in fronts[1] for made in computation[at].operands],
      )
      # What stands behind a collective is no neighbour.
      fronts = tuple(
        [each for each in front if each in computation and each not in seen]
        for front in fronts
      )
      for each in (*fronts[0], *fronts[1]):
        if found.get(each, COLLECTIVES) != COLLECTIVES:
          return found[each]
      fronts = tuple(
        [each for each in dict.fromkeys(front) if each not in found]
        for front in fronts
      )
      seen.update(*fronts)
    return alone

  return {name: found.get(name) or nearest(name) for name in computation}
