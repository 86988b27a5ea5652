"""A checkpoint in memory, whichever format it was read from."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import jax

from sigma_jax import settings as settings_lib
from sigma_jax.interop import layout as layout_lib

Note = Callable[[str], None]


class Model(NamedTuple):
  """A checkpoint in memory.

  layout: its parts and sizes. params: ours, nested dicts of float32 numpy
  arrays. settings: a run that has this model; clip geometry is in its `data`.
  step: of a workdir's checkpoint. class_names: of a fine-tuned model; ():
  unknown.
  """

  layout: layout_lib.Layout
  params: dict
  settings: settings_lib.Settings
  step: int | None = None
  class_names: tuple[str, ...] = ()


def say(line: str) -> None:
  """Prints a note to standard error, on process 0 only."""
  if jax.process_index() == 0:
    print(f"note: {line}", file=sys.stderr, flush=True)
