"""Pickles read as data, by a stack machine that calls nothing.

A pickle is a program: its opcodes fetch globals, call them and set the state
of what came of it. Python's own unpickler does so even where every global is
looked at first: one that is harmless to call, `numpy.dtype`, has a state that
can be set, and then numbers of that type have another size in the whole
process. Here a global is a name, a call is a record of name and arguments, and
state that is set is dropped. What a record means is for the caller to say.

Bounded: in bytes, in steps, in the size of integers. Nothing recurses, however
deep the values are nested, and no value is ever compared or printed.

Format: https://docs.python.org/3/library/pickletools.html
"""

import dataclasses
import io
import pickletools
from collections.abc import Collection
from typing import Any

from sigma_jax import errors

MAX_BYTES = 2**26  # of a pickle; tensors are not in it
# One byte can make an object of 64: with these steps that is some 200 MB.
_MAX_STEPS = 2_000_000
_MAX_INTEGER_BITS = 1024

ORDERED_DICT = ("collections", "OrderedDict")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Global:
  """The name of a class or function."""

  module: str
  name: str

  @property
  def path(self) -> tuple[str, str]:
    return self.module, self.name


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Call:
  """What calling `function` with `args` would have made."""

  function: Any
  args: Any

  def of(self, module: str, name: str) -> bool:
    """Whether it is a call of this global."""
    function = self.function
    return isinstance(function, Global) and function.path == (module, name)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Persistent:
  """A reference to what lies outside the pickle."""

  pid: Any


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Unpickled:
  """A pickle's value, and all references of it to what lies outside.

  The value is made of None, bool, int, float, str, bytes, list, tuple, dict and
  the three classes above. It can contain itself.
  """

  value: Any
  persistent: list[Persistent]


def load(stream: io.BytesIO, known: Collection[tuple[str, str]]) -> Unpickled:
  """Reads one pickle, and leaves the stream behind it.

  Args:
    stream: at most MAX_BYTES.
    known: the globals, (module, name), that it may name.

  Raises:
    UserError: another global, which is named, or a bound is exceeded.
    Exception: of many kinds, where the pickle is damaged.
  """
  machine = _Machine(known)
  for opcode, argument, _ in pickletools.genops(stream):
    machine.spend(1)
    if opcode.name == "STOP":
      return Unpickled(machine.stack.pop(), machine.persistent)
    if opcode.name in _PUSHES:
      machine.push(argument)
    else:
      act = _ACTIONS.get(opcode.name)
      if act is None:
        raise errors.UserError(f"refused: its pickle uses {opcode.name}")
      act(machine, argument)
  raise errors.UserError("its pickle is cut off")


# Opcodes whose argument is the value.
_PUSHES = {
  *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
  *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
  *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
  *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


class _Machine:
  """Stack, marks and memo, as pickle.py has them."""

  def __init__(self, known: Collection[tuple[str, str]]):
    self.known = known
    self.stack: list = []
    self.below: list[list] = []  # what lies under each mark
    self.memo: dict[int, Any] = {}
    self.persistent: list[Persistent] = []
    self.left = _MAX_STEPS

  def spend(self, steps: int) -> None:
    self.left -= steps
    if self.left < 0:
      raise errors.UserError(
        f"refused: its pickle takes more than {_MAX_STEPS} steps"
      )

  def push(self, value: Any) -> None:
    if type(value) is int and value.bit_length() > _MAX_INTEGER_BITS:
      raise errors.UserError(
        f"refused: its pickle has an integer of {value.bit_length()} bits"
      )
    self.stack.append(value)

  def pop(self) -> Any:
    return self.stack.pop()

  def mark(self) -> None:
    self.below.append(self.stack)
    self.stack = []

  def to_mark(self) -> list:
    """Takes all values above the last mark, and the mark."""
    items, self.stack = self.stack, self.below.pop()
    return items

  def find(self, module: Any, name: Any) -> Global:
    if type(module) is not str or type(name) is not str:
      raise errors.UserError("refused: its pickle computes a global's name")
    if (module, name) not in self.known:
      raise errors.UserError(
        f"refused: its pickle calls for {module[:80]}.{name[:80]}, which no "
        "state dict needs; nothing was executed"
      )
    return Global(module, name)

  def call(self, function: Any, args: Any) -> None:
    """Ordered dicts become dicts, since other opcodes fill them."""
    path = function.path if isinstance(function, Global) else None
    if path != ORDERED_DICT or not isinstance(args, tuple):
      self.stack.append(Call(function, args))
      return
    made = {}
    for item in args[0] if args else ():
      self.spend(1)
      _put(made, *item)
    self.stack.append(made)

  def fill(self, items: list) -> None:
    """Alternating keys and values into the dict on top of the stack."""
    into = self.stack[-1]
    if len(items) % 2:
      raise errors.UserError("its pickle has a key without a value")
    if isinstance(into, dict):
      for key, value in zip(items[::2], items[1::2], strict=True):
        _put(into, key, value)

  def extend(self, items: list) -> None:
    """Into the list on top of the stack; nothing else keeps its items."""
    into = self.stack[-1]
    if isinstance(into, list):
      into.extend(items)

  def refer(self, pid: Any) -> None:
    self.persistent.append(Persistent(pid))
    self.stack.append(self.persistent[-1])


def _put(into: dict, key: Any, value: Any) -> None:
  """Keys of other kinds are left out: a nested tuple's hash recurses, and
  integers of many digits can be made to share one hash."""
  if type(key) is int and key.bit_length() > 64:
    return
  if type(key) in (str, int, float, bool, bytes, type(None)):
    into[key] = value


def _reduce(machine, _):
  args, function = machine.pop(), machine.pop()
  machine.call(function, args)


def _new_with_keywords(machine, _):
  machine.pop()
  _reduce(machine, _)


def _inst(machine, argument):
  module, _, name = argument.partition(" ")
  args = tuple(machine.to_mark())
  machine.call(machine.find(module, name), args)


def _obj(machine, _):
  function, *args = machine.to_mark()
  machine.call(function, tuple(args))


def _global(machine, argument):
  module, _, name = argument.partition(" ")
  machine.stack.append(machine.find(module, name))


def _stack_global(machine, _):
  name, module = machine.pop(), machine.pop()
  machine.stack.append(machine.find(module, name))


def _tuple_of(count):
  def act(machine, _):
    items = [machine.pop() for _ in range(count)]
    machine.stack.append(tuple(items[::-1]))

  return act


def _new_dict(machine, _):
  items = machine.to_mark()
  machine.stack.append({})
  machine.fill(items)


def _set_item(machine, _):
  value, key = machine.pop(), machine.pop()
  machine.fill([key, value])


def _append(machine, _):
  machine.extend([machine.pop()])


def _set(machine, items):
  machine.stack.append(Call(Global("builtins", "set"), tuple(items)))


def _store(machine, index):
  machine.memo[index] = machine.stack[-1]


def _fetch(machine, index):
  machine.stack.append(machine.memo[index])


def _pop(machine, _):
  if machine.stack:
    machine.pop()
  else:
    machine.to_mark()


# Names are pickletools'. Those that are missing, the extension registry and
# buffers outside the pickle among them, are refused.
_ACTIONS = {
  "PROTO": lambda machine, _: None,
  "FRAME": lambda machine, _: None,
  "NONE": lambda machine, _: machine.push(None),
  "NEWTRUE": lambda machine, _: machine.push(True),
  "NEWFALSE": lambda machine, _: machine.push(False),
  "EMPTY_LIST": lambda machine, _: machine.push([]),
  "EMPTY_TUPLE": lambda machine, _: machine.push(()),
  "EMPTY_DICT": lambda machine, _: machine.push({}),
  "EMPTY_SET": lambda machine, _: _set(machine, ()),
  "FROZENSET": lambda machine, _: _set(machine, machine.to_mark()),
  "LIST": lambda machine, _: machine.push(machine.to_mark()),
  "TUPLE": lambda machine, _: machine.push(tuple(machine.to_mark())),
  "TUPLE1": _tuple_of(1),
  "TUPLE2": _tuple_of(2),
  "TUPLE3": _tuple_of(3),
  "DICT": _new_dict,
  "APPEND": _append,
  "APPENDS": lambda machine, _: machine.extend(machine.to_mark()),
  "ADDITEMS": lambda machine, _: machine.to_mark(),
  "SETITEM": _set_item,
  "SETITEMS": lambda machine, _: machine.fill(machine.to_mark()),
  "MARK": lambda machine, _: machine.mark(),
  "POP": _pop,
  "POP_MARK": lambda machine, _: machine.to_mark(),
  "DUP": lambda machine, _: machine.push(machine.stack[-1]),
  "GET": _fetch,
  "BINGET": _fetch,
  "LONG_BINGET": _fetch,
  "PUT": _store,
  "BINPUT": _store,
  "LONG_BINPUT": _store,
  "MEMOIZE": lambda machine, _: _store(machine, len(machine.memo)),
  "GLOBAL": _global,
  "STACK_GLOBAL": _stack_global,
  "REDUCE": _reduce,
  "NEWOBJ": _reduce,
  "NEWOBJ_EX": _new_with_keywords,
  "INST": _inst,
  "OBJ": _obj,
  "BUILD": lambda machine, _: machine.pop(),
  "PERSID": lambda machine, argument: machine.refer(argument),
  "BINPERSID": lambda machine, _: machine.refer(machine.pop()),
}
