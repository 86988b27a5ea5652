"""Turns nested plain values into frozen dataclasses, strictly; checks them."""

import dataclasses
import difflib
import math
import types
import typing
from typing import Any

from sigma_jax import nearest


def build(cls: type, values: dict[str, Any], prefix: str = "") -> Any:
  """An instance of `cls` from nested values, names and types checked.

  Args:
    cls: a dataclass; fields may be dataclasses, scalars, or tuples of scalars
      or of NamedTuples.
    values: as many of its fields as are given; the rest keep their defaults.
      A section may be a dataclass that is built already.
    prefix: dotted key of `cls` itself, for messages.

  Raises:
    ValueError: one line naming the key, and the nearest valid one.
  """
  fields = {f.name: f for f in dataclasses.fields(cls)}
  hints = typing.get_type_hints(cls)
  kwargs = {}
  for name, value in values.items():
    key = prefix + name
    if name not in fields:
      near = nearest.option(key, [prefix + field for field in fields])
      hint = f"; did you mean {near!r}?" if near else ""
      raise ValueError(f"unknown config key {key!r}{hint}")
    kwargs[name] = _convert(hints[name], value, key)
  return cls(**kwargs)


def _convert(hint: Any, value: Any, key: str) -> Any:
  if dataclasses.is_dataclass(hint):
    if isinstance(value, hint):
      return value
    if not isinstance(value, dict):
      raise ValueError(f"config key {key!r} is a section, got {value!r}")
    return build(hint, value, key + ".")
  if isinstance(hint, types.GenericAlias):  # tuple[x, ...]
    if not isinstance(value, (tuple, list)):
      raise ValueError(f"config key {key!r} must be a tuple, got {value!r}")
    return tuple(_convert(hint.__args__[0], v, key) for v in value)
  if issubclass(hint, tuple):
    return _named(hint, value, key)
  if hint is float and type(value) is int:
    return float(value)
  if type(value) is not hint:
    raise ValueError(
      f"config key {key!r} must be {hint.__name__}, got {value!r}"
    )
  if hint is float and not math.isfinite(value):
    raise ValueError(f"config key {key!r} must be finite, got {value!r}")
  return value


def _named(hint: Any, value: Any, key: str) -> Any:
  """A NamedTuple from its values in order; those with defaults may lack."""
  fields, optional = hint._fields, len(hint._field_defaults)
  least = len(fields) - optional
  if not isinstance(value, (tuple, list)) or not (
    least <= len(value) <= len(fields)
  ):
    forms = [", ".join(fields[:n]) for n in range(least, len(fields) + 1)]
    raise ValueError(
      f"config key {key!r}: an entry is ({') or ('.join(forms)}), got {value!r}"
    )
  hints = typing.get_type_hints(hint)
  return hint(
    *(
      _convert(hints[name], one, f"{key}: {name}")
      for name, one in zip(fields, value, strict=False)
    )
  )


def choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
  """Raises ValueError naming the nearest of `allowed` if `value` is none."""
  if value not in allowed:
    near = difflib.get_close_matches(str(value), allowed, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{key} must be one of {allowed}, got {value!r}{hint}")


def seed(key: str, value: int) -> None:
  """Raises ValueError unless `value` is a seed of 32 bits.

  JAX's keys take no more: they would be those of another seed.
  """
  if not 0 <= value < 1 << 32:
    raise ValueError(
      f"{key} must lie in 0 .. {(1 << 32) - 1} (2^32 - 1), got {value}"
    )


def within(section: str, obj: Any, bounds: str, *names: str) -> None:
  """Raises ValueError naming the first of `names` in `obj` outside `bounds`.

  Args:
    section: of the keys.
    obj: has them as attributes.
    bounds: such as "(0, 1]": a round bracket leaves its end out.
    names: the keys.
  """
  low, high = map(float, bounds[1:-1].split(","))
  for name in names:
    value = getattr(obj, name)
    above = low < value if bounds[0] == "(" else low <= value
    if not (above and (value < high if bounds[-1] == ")" else value <= high)):
      raise ValueError(f"{section}.{name} must lie in {bounds}, got {value}")


def not_negative(section: str, obj: Any, *names: str) -> None:
  """Raises ValueError naming the first of `names` in `obj` that is below 0."""
  for name in names:
    if getattr(obj, name) < 0:
      raise ValueError(
        f"{section}.{name} must not be negative, got {getattr(obj, name)}"
      )


def positive(section: str, obj: Any, *names: str) -> None:
  """Raises ValueError naming the first of `names` in `obj` that is not > 0."""
  for name in names:
    if getattr(obj, name) <= 0:
      raise ValueError(
        f"{section}.{name} must be positive, got {getattr(obj, name)!r}"
      )
