"""Attention forward and backward: XLA's, cuDNN's, in tiles, and PyTorch's."""

import argparse
import functools
import importlib.util
import statistics
import time

import numpy as np

from sigma_jax import errors
from sigma_jax.bench import output

_PACKAGES = ("jax", "jaxlib", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument("--batch", type=int, default=8, help="clips")
  parser.add_argument(
    "--tokens", type=int, default=1568, help="of a clip; 16 x 224 x 224: 1568"
  )
  parser.add_argument("--heads", type=int, default=12)
  parser.add_argument("--dim", type=int, default=64, help="of a head")
  parser.add_argument(
    "--dtype", choices=("float32", "bfloat16"), default="bfloat16"
  )
  parser.add_argument("--turns", type=int, default=10, help="timed, of each")


def run(args: argparse.Namespace) -> int:
  """Exit code 0. A way that does not run here is a row with its reason."""
  for name in ("batch", "tokens", "heads", "dim", "turns"):
    if getattr(args, name) <= 0:
      raise errors.UserError(f"--{name} must be positive")
  shape = args.batch, args.tokens, args.heads, args.dim
  draw = np.random.default_rng(0)
  arrays = [draw.standard_normal(shape, np.float32) for _ in range(4)]
  # A product is 2 n^2 d operations a head; 2 forward, 4 backward: what is
  # computed a second time does not count.
  work = 6 * 2.0 * args.batch * args.heads * args.tokens**2 * args.dim
  rows, wanted = [], None
  for name, prepare in _ways().items():
    row = {"attention": name, "compile_s": None, "ms": None, "least_ms": None}
    row |= {"tflop_per_s": None, "differs": None, "reason": None}
    rows.append(row)
    try:
      start = time.perf_counter()
      call = prepare(arrays, args.dtype)
      found = call()
      row["compile_s"] = time.perf_counter() - start
      seconds = []
      for _ in range(args.turns):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    # Whatever a library has against this shape, dtype or machine.
    except Exception as error:
      row["reason"] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
      continue
    wanted = found if wanted is None else wanted
    row |= {
      "ms": 1e3 * statistics.median(seconds),
      "least_ms": 1e3 * min(seconds),
      "tflop_per_s": work / statistics.median(seconds) / 1e12,
      "differs": max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(found, wanted, strict=True)
      ),
    }
  result = {
    "title": f"attention: {args.batch} clips of {args.tokens} tokens, "
    f"{args.heads} heads of {args.dim}, {args.dtype}, forward and backward, "
    f"{args.turns} turns, median; differs: from the first row, of the largest",
    "rows": rows,
    "cpu": output.processor(),
    "versions": output.versions(*_PACKAGES),
  }
  output.show(result, args.json)
  return 0


def _ways() -> dict:
  """name -> (arrays, dtype) -> a call that returns output and gradients."""
  import jax

  from sigma_jax.models import attention

  fused = jax.nn.dot_product_attention

  def chosen(*arrays):
    with attention.on_platform(jax.default_backend()):
      return attention.attend(*arrays)

  ways = {
    "XLA": functools.partial(fused, implementation="xla"),
    "cuDNN": functools.partial(fused, implementation="cudnn"),
    "tiled": attention.tiled,
    "chosen": chosen,
  }
  ways = {name: functools.partial(_in_jax, way) for name, way in ways.items()}
  if importlib.util.find_spec("torch"):
    ways["PyTorch's SDPA"] = _in_torch
  return ways


def _in_jax(way, arrays, dtype: str):
  import jax
  import jax.numpy as jnp

  *inputs, weight = (jnp.asarray(x, dtype) for x in arrays)

  def both(*inputs):
    out, back = jax.vjp(way, *inputs)
    return out, *back(weight)

  compiled = jax.jit(both).lower(*inputs).compile()

  def call():
    return jax.block_until_ready(compiled(*inputs))

  first = [np.asarray(x, np.float32) for x in call()]
  return lambda: call() and first


def _in_torch(arrays, dtype: str):
  import torch

  device = "cuda" if torch.cuda.is_available() else "cpu"
  # PyTorch wants heads before tokens.
  inputs = [
    torch.tensor(x, device=device).to(getattr(torch, dtype)).transpose(1, 2)
    for x in arrays
  ]
  *inputs, weight = (x.contiguous() for x in inputs)
  for x in inputs:
    x.requires_grad_(True)

  def both():
    out = torch.nn.functional.scaled_dot_product_attention(*inputs)
    found = out, *torch.autograd.grad(out, inputs, weight)
    if device == "cuda":
      torch.cuda.synchronize()
    return found

  first = [x.detach().transpose(1, 2).float().cpu().numpy() for x in both()]
  return lambda: both() and first
