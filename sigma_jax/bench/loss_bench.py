"""Time and peak memory of scores, Sinkhorn of both sides, loss and gradients.

sigma_jax's loss beside a plain PyTorch writing of the same: equal inputs, one
run, processes taking turns, results compared. Memory is the peak of a first run
beyond what was held before it, gradients included.
"""

import argparse
import importlib.util
import itertools
import tempfile

from sigma_jax import errors
from sigma_jax.bench import contest, loss_inputs, output

_FLAT = "flat, "
_MODES = ("auto", "keep", "recompute", "reference")
# float32 sums of thousands of terms, by two libraries.
_TOLERANCE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument("--tubes", type=int, default=11264)
  parser.add_argument("--prototypes", type=int, default=3000)
  parser.add_argument("--dim", type=int, default=256, help="p, of a feature")
  parser.add_argument(
    "--mode",
    nargs="+",
    choices=_MODES,
    default=["auto", "recompute"],
    help="loss.kernels; reference: the plain JAX writing, the tests' oracle",
  )
  parser.add_argument(
    "--levels",
    type=int,
    nargs="+",
    default=[],
    metavar="NODES",
    help="of the levels above the prototypes, coarsest first: a tree, one "
    "transport over its leaves, beside the flat loss and not PyTorch",
  )
  parser.add_argument(
    "--hierarchy",
    choices=("leaves", "top_down"),
    default="leaves",
    help="how the tree of --levels is assigned",
  )
  parser.add_argument("--labels", choices=("hard", "soft"), default="hard")
  parser.add_argument("--epsilon", type=float, default=0.05)
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="of the operands of our matrix products",
  )
  parser.add_argument("--turns", type=int, default=7, help="timed runs of each")
  parser.add_argument(
    "--no-torch", action="store_true", help="ours alone, nothing compared"
  )


def run(args: argparse.Namespace) -> int:
  """Exit code 0, or 1 where float32 results disagree."""
  for name in ("tubes", "prototypes", "dim", "turns", "epsilon"):
    if getattr(args, name) <= 0:
      raise errors.UserError(f"--{name} must be positive")
  options = {
    "tubes": args.tubes,
    "prototypes": args.prototypes,
    "dim": args.dim,
    "epsilon": args.epsilon,
    "rounds": 10,
    "temperature": 0.1,
    "labels": args.labels,
    "dtype": args.dtype,
  }
  contenders = _contenders(args, options)
  failed: dict[str, str] = {}
  with tempfile.TemporaryDirectory() as folder:
    outcomes = contest.hold(contenders, args.turns, folder, failed)
  contest.need(outcomes, (), failed)
  result, agree = _result(args, options, outcomes)
  output.show(result | {"failed": failed or None}, args.json)
  return 0 if not failed and (agree or args.dtype != "float32") else 1


def _contenders(args, options: dict) -> dict[str, tuple[str, dict]]:
  modes = {mode: {**options, "mode": mode} for mode in args.mode}
  if args.levels:
    if "reference" in modes:
      raise errors.UserError("--mode reference has no --levels")
    for above, below in itertools.pairwise([*args.levels, args.prototypes]):
      if above < 1 or below % above:
        raise errors.UserError(
          "--levels must each divide the next, and the last --prototypes"
        )
    found = {}
    for mode, chosen in modes.items():
      found[_FLAT + mode] = ("loss_jax", chosen)
      tree = {"levels": args.levels, "hierarchy": args.hierarchy}
      found[mode] = ("loss_jax", {**chosen, **tree})
    return found
  with_torch = not args.no_torch and importlib.util.find_spec("torch")
  found = {"pytorch": ("loss_torch", options)} if with_torch else {}
  return found | {mode: ("loss_jax", chosen) for mode, chosen in modes.items()}


def _result(args, options, outcomes) -> tuple[dict, bool]:
  wanted = outcomes.get("pytorch")
  rows, agree = [], True
  for name, found in outcomes.items():
    row = {
      "contender": name,
      "seconds": found.median,
      "least": min(found.seconds),
      "extra_mb": found.extra_bytes / 1e6,
    }
    if args.levels:
      flat = outcomes.get(_FLAT + name.removeprefix(_FLAT))
      row["times_flat"] = found.median / flat.median if flat else None
    if wanted is not None:
      apart = loss_inputs.differences(found.results, wanted.results)
      agree &= apart["loss"] < _TOLERANCE and apart["gradients"] < _TOLERANCE
      row |= {
        "times_faster": wanted.median / found.median,
        "share_of_memory": found.extra_bytes / wanted.extra_bytes,
        "loss_differs": apart["loss"],
        "labels_differ": apart["labels"],
        "gradients_differ": apart["gradients"],
      }
    rows.append(row)
  facts = {name: found.facts for name, found in outcomes.items()}
  title = (
    f"loss: {args.tubes} tubes x {args.prototypes} prototypes x {args.dim}, "
    f"{args.labels} labels, {args.turns} turns, median"
  )
  return {
    "title": title,
    "rows": rows,
    "options": options,
    "cpu": output.processor(),
    "contenders": facts,
  }, agree
