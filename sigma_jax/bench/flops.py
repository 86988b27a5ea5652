"""Floating-point operations of a function's matrix products, from its jaxpr.

XLA's own cost analysis counts the body of a loop once, whatever its number of
turns (a test shows it), and our blocks, tiles and Sinkhorn rounds are loops.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def matmul_flops(function: Callable, *args: Any) -> float:
  """Operations of all matrix products and convolutions of `function(*args)`.

  A multiplication and an addition are two. Loops count as often as they turn,
  of a `cond` the dearest branch, and a shard_map's body on all its devices, so
  that the count is that of the whole program and not of one device. What
  `jax.checkpoint` computes again counts again. Elementwise work is left out.

  Args:
    function: traceable; jitted or not.
    args: pytrees of arrays or ShapeDtypeStructs.

  Raises:
    ValueError: a matrix product in a loop whose number of turns is not known
      before it runs.
  """
  return jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr)


def jaxpr_flops(jaxpr: core.Jaxpr) -> float:
  """`matmul_flops` of what is traced already."""
  return float(sum(_equation(equation) for equation in jaxpr.eqns))


def _equation(equation) -> float:
  name, params = equation.primitive.name, equation.params
  if name == "jit" and not equation.outvars:
    # What remains of a function whose results `jax.checkpoint` has kept.
    return 0.0
  if name == "dot_general":
    return _dot(equation)
  if name == "conv_general_dilated":
    return _convolution(equation)
  inner = [jaxpr_flops(jaxpr) for jaxpr in _inner(params)]
  if not any(inner):
    return 0.0
  if name == "cond":
    return max(inner)
  if name == "pallas_call":
    return math.prod(params["grid_mapping"].grid) * sum(inner)
  if name == "scan":
    return params["length"] * sum(inner)
  if name == "while":
    turns = _turns(equation)
    body = jaxpr_flops(params["body_jaxpr"].jaxpr)
    # The condition is asked once more than the body runs.
    return turns * sum(inner) + sum(inner) - body
  if name == "shard_map":
    mesh = params["mesh"]
    axes = params.get("manual_axes", mesh.axis_names)
    return math.prod(mesh.shape[axis] for axis in axes) * sum(inner)
  return sum(inner)


def _inner(value: Any) -> Iterator[core.Jaxpr]:
  """Every jaxpr in an equation's parameters."""
  if isinstance(value, core.ClosedJaxpr):
    yield value.jaxpr
  elif isinstance(value, core.Jaxpr):
    yield value
  elif isinstance(value, dict):
    for item in value.values():
      yield from _inner(item)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from _inner(item)


def _dot(equation) -> float:
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  length = math.prod(shape[axis] for axis in contracted)
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * length


def _convolution(equation) -> float:
  kernel = equation.invars[1].aval.shape
  features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
  terms = math.prod(kernel) / features
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * terms


def _turns(equation) -> int:
  """How often a counting loop runs: `i < n` from `i`, in steps of one.

  `jax.lax.fori_loop` with static bounds is a scan already; this reads what is
  written with `while_loop` and constants.
  """
  condition = equation.params["cond_jaxpr"].jaxpr
  body = equation.params["body_jaxpr"].jaxpr
  skipped = equation.params["cond_nconsts"], equation.params["body_nconsts"]
  initial = equation.invars[sum(skipped) :]
  if len(condition.eqns) == 1 and condition.eqns[0].primitive.name == "lt":
    counter, limit = condition.eqns[0].invars
    place = condition.invars.index(counter) - skipped[0]
    if isinstance(limit, core.Literal) and place >= 0:
      first, steps = initial[place], _counted(body, skipped[1] + place, place)
      if isinstance(first, core.Literal) and steps:
        return max(int(limit.val) - int(first.val), 0)
  raise ValueError(
    "cannot count the matrix products of a while loop whose number of turns "
    "is not a constant; write it as jax.lax.scan or fori_loop"
  )


def _counted(body: core.Jaxpr, place_in: int, place_out: int) -> bool:
  """Whether the body adds one to a counter, and nothing else to it."""
  for equation in body.eqns:
    if body.outvars[place_out] in equation.outvars:
      one = equation.invars[-1]
      return (
        equation.primitive.name == "add"
        and equation.invars[0] is body.invars[place_in]
        and isinstance(one, core.Literal)
        and int(one.val) == 1
      )
  return False
