"""Which method pre-trains, and the options that are that method's own."""

import dataclasses
from typing import Any, ClassVar

from sigma_jax import freeze


@dataclasses.dataclass(frozen=True)
class Method:
  """The method of a pre-training; the base of every method's `Options`.

  `masked` is the family of VideoMAE and SIGMA, whose options are the sections
  masking, target and loss. Other methods have theirs here, as
  `config.method.*`: `default_config(NAME)` lists them.
  """

  # Options that change a parameter's or another state's shape: a checkpoint
  # fits only a run that agrees on them.
  shapes: ClassVar[tuple[str, ...]] = ()

  # Of a module in sigma_jax/methods, or a module of one's own: docs/METHODS.md.
  name: str = "masked"

  def unread(self) -> tuple[tuple[str, str], ...]:
    """(options, why they have no effect): dotted names with spaces between."""
    return ()


def options(values: Any) -> Method:
  """A method's options from nested plain values; see `freeze.build`.

  Raises:
    ValueError: one line: no such method, or an option that it does not have.
  """
  if not isinstance(values, dict):
    raise ValueError(f"config key 'method' is a section, got {values!r}")
  return freeze.build(
    options_of(values.get("name", Method.name)), values, "method."
  )


def options_of(name: str) -> type[Method]:
  """The class of a method's options.

  Raises:
    ValueError: no such method.
  """
  if name == Method.name:
    return Method
  # A method's options stand in the method's own file. Imported here, because
  # methods import settings, and because they bring JAX with them.
  from sigma_jax.methods import method

  return method.named(name).Options
