"""Checkpoints of older versions, in which the state lay otherwise.

Until clipping became stateless (`optimizer._clipped`), it was the first link of
optax's chain, with an empty state: what is `opt_state/0` now was `opt_state/1`,
and so on.
"""

from typing import Any

import optax

_KEY = "opt_state"


def has_clipping(listed: Any) -> bool:
  """Whether clipping has a place in the optimiser's state.

  Args:
    listed: a checkpoint's own list of its arrays, as `stored.metadata` gives.
  """
  links = listed.get(_KEY) if isinstance(listed, dict) else None
  if not isinstance(links, (list, tuple)) or len(links) < 2:
    return False
  # The first link of today's chain is Adam's, which is never without arrays.
  return not _has_arrays(links[0]) and _has_arrays(links[1])


def with_clipping(parts: dict[str, Any]) -> dict[str, Any]:
  """A state's parts as such a checkpoint holds them."""
  return parts | {_KEY: (optax.EmptyState(), *parts[_KEY])}


def without_clipping(parts: dict[str, Any]) -> dict[str, Any]:
  """The parts of a state that is read from one, as they are today."""
  return parts | {_KEY: tuple(parts[_KEY])[1:]}


def _has_arrays(tree: Any) -> bool:
  if isinstance(tree, dict):
    tree = tuple(tree.values())
  if isinstance(tree, (list, tuple)):
    return any(map(_has_arrays, tree))
  return hasattr(tree, "shape")
