"""A module's static part, shapes and weights apart from each other.

Inside jit, modules are made of nested dicts of arrays and never passed around
themselves.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import nnx

from sigma_jax.models import layers

Make = Callable[[nnx.Rngs], nnx.Module]


class Abstract(NamedTuple):
  """A module without its weights.

  graph: the static part. params, frozen: ShapeDtypeStructs of the trained and
  of the frozen weights as nested dicts; frozen is empty for most.
  """

  graph: nnx.GraphDef
  params: dict
  frozen: dict


def abstract(make: Make) -> Abstract:
  """Graph and shapes of `make(rngs)` without allocating anything."""
  module = jax.eval_shape(lambda: make(nnx.Rngs(0)))
  graph, params, frozen = nnx.split(module, nnx.Param, layers.Frozen)
  return Abstract(graph, nnx.to_pure_dict(params), nnx.to_pure_dict(frozen))


def merge(graph: nnx.GraphDef, params: dict, frozen: dict | None = None):
  """The module from its parts; inside jit, the inverse of `abstract`."""
  return nnx.merge(graph, params, frozen or {})


def init(make: Make, key: jax.Array) -> dict:
  """Fresh trained parameters, a nested dict of float32 arrays; jit-able."""
  module = make(nnx.Rngs(key))
  return nnx.to_pure_dict(nnx.split(module, nnx.Param, ...)[1])
