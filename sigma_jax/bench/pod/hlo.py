"""Reads optimised HLO text: how often what runs, and what is sent.

XLA prints a module as computations, each a list of instructions:

  %sum.1 = f32[3000]{0:T(1024)} all-reduce(%mass.2), replica_groups=..., ...

Loops are instructions that name a computation for their body and one for their
condition.
"""

import math
import re
from typing import NamedTuple

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](\{[^{}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"^\s+(ROOT )?%([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|true_computation|false_computation|"
  r"called_computations|branch_computations|async_execution_computation)="
  r"(?:%([\w.\-]+)|\{([^}]*)\})"
)


class Array(NamedTuple):
  """dtype: XLA's name. shape: of one device. memory: 0 is the main one."""

  dtype: str
  shape: tuple[int, ...]
  memory: int = 0

  @property
  def nbytes(self) -> int:
    """Without padding."""
    bits = _BITS.get(self.dtype)
    if bits is None:
      found = re.search(r"\d+", self.dtype)
      bits = int(found[0]) if found else 0  # a token has none
    return math.ceil(math.prod(self.shape) * bits / 8)

  @property
  def text(self) -> str:
    """As XLA writes it: bf16[12,768]."""
    return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class Instruction(NamedTuple):
  """arrays: the result's, tuples flattened. operands: names. rest: the line
  behind the operands."""

  name: str
  opcode: str
  arrays: tuple[Array, ...]
  operands: tuple[str, ...]
  rest: str
  literal: str
  root: bool

  @property
  def op_name(self) -> str:
    """Where in the Python program it comes from; "" where that is lost."""
    found = re.search(r'op_name="([^"]*)"', self.rest)
    return found[1] if found else ""

  @property
  def called(self) -> list[str]:
    """Names of the computations that it runs or is made of."""
    found = []
    for one, several in _CALLED.findall(self.rest):
      found += [one] if one else re.findall(r"%([\w.\-]+)", several)
    return found

  def attribute(self, name: str) -> str:
    """A computation's name in an attribute: `attribute("body")`."""
    found = re.search(rf"\b{name}=%([\w.\-]+)", self.rest)
    return found[1] if found else ""


class Module(NamedTuple):
  """computations: name -> its instructions by name. entry: where it starts."""

  computations: dict[str, dict[str, Instruction]]
  entry: str


def parse(text: str) -> Module:
  """Reads `compiled.as_text()`.

  Raises:
    ValueError: there is no entry computation.
  """
  computations, entry, current = {}, "", None
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header:
      current = computations.setdefault(header[2], {})
      entry = header[2] if header[1] else entry
    elif line.startswith("}"):
      current = None
    elif current is not None and (found := _NAME.match(line)):
      instruction = _instruction(line, found)
      current[instruction.name] = instruction
  if not entry:
    raise ValueError("this is no HLO text: it has no ENTRY computation")
  return Module(computations, entry)


def _instruction(line: str, found: re.Match) -> Instruction:
  start = found.end()
  behind = (
    _closing(line, start) if line[start] == "(" else line.index(" ", start)
  )
  opcode = _OPCODE.match(line, behind)
  end = _closing(line, opcode.end() - 1)
  inside = line[opcode.end() : end - 1]
  return Instruction(
    name=found[2],
    opcode=opcode[1],
    arrays=tuple(_arrays(line[start:behind])),
    operands=tuple(re.findall(r"%([\w.\-]+)", inside)),
    rest=line[end:],
    literal=inside,
    root=bool(found[1]),
  )


def _closing(line: str, start: int) -> int:
  """Behind the bracket that closes the one at `start`."""
  depth = 0
  for i in range(start, len(line)):
    depth += {"(": 1, ")": -1}.get(line[i], 0)
    if depth == 0:
      return i + 1
  raise ValueError(f"unbalanced brackets in HLO: {line[:80]}")


def _arrays(text: str):
  for dtype, shape, layout in _ARRAY.findall(text):
    memory = re.search(r"S\((\d+)\)", layout)
    sizes = tuple(int(size) for size in shape.split(",") if size)
    yield Array(dtype, sizes, int(memory[1]) if memory else 0)


def runs(
  module: Module, once: list[str] | None = None
) -> dict[str, list[tuple[int, ...]]]:
  """How the entry computation gets to the others that run on their own.

  Returns:
    Computation -> for each way that leads to it, the turns of the loops on it.
    What is inside a fusion is left out, and so are the functions that
    reductions apply. Names of loops whose number of turns cannot be read,
    because it follows from data (a sample that is drawn until it fits), are
    added to `once` and counted as one turn.

  Raises:
    ValueError: there is such a loop and no `once`.
  """
  found: dict[str, list[tuple[int, ...]]] = {}

  def turns_of(loop: Instruction) -> int:
    try:
      return trip_count(module, loop)
    except ValueError:
      if once is None:
        raise
      once.append(loop.name)
      return 1

  def visit(name: str, loops: tuple[int, ...]) -> None:
    found.setdefault(name, []).append(loops)
    for instruction in module.computations[name].values():
      if instruction.opcode == "while":
        turns = turns_of(instruction)
        visit(instruction.attribute("body"), (*loops, turns))
      elif instruction.opcode in ("conditional", "call", "async-start"):
        for inner in instruction.called:
          visit(inner, loops)

  visit(module.entry, ())
  return found


def trip_count(module: Module, loop: Instruction) -> int:
  """Turns of a `while` instruction.

  As XLA noted it, or the constant that its condition compares a counter with:
  `jax.lax.scan` counts from 0 in steps of 1.

  Raises:
    ValueError: neither is there.
  """
  known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
  if known:
    return int(known[1])
  condition = module.computations[loop.attribute("condition")]
  root = next(i for i in condition.values() if i.root)
  limits = [
    int(condition[name].literal)
    for name in root.operands
    if condition[name].opcode == "constant"
  ]
  if root.opcode != "compare" or "direction=LT" not in root.rest or not limits:
    raise ValueError(f"cannot tell how often the loop %{loop.name} turns")
  return limits[0]
