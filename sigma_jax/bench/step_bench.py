"""One training step, forward, backward and AdamW, beside PyTorch's.

Both sides train the same model, by number of parameters, on the same clips;
the rate that one large matrix product reaches in the same run is the peak that
shares are taken of. On a CPU everything is float32 unless --dtype says else; on
a GPU bfloat16, PyTorch compiled. PyTorch's side is written for the masked
methods alone; fine-tuning, probes and other methods are measured by themselves.
"""

import argparse
import dataclasses
import importlib.util
import tempfile

from sigma_jax import errors, paths
from sigma_jax import settings as settings_lib
from sigma_jax.bench import contest, output


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument(
    "--config",
    type=paths.argument,
    default="configs/k400_vitb.py",
    help="config file, perhaps with :mlp or :dino behind it",
  )
  parser.add_argument(
    "--batch", type=int, default=0, help="clips; CPU 2, GPU 40"
  )
  parser.add_argument("--dtype", choices=("float32", "bfloat16"))
  parser.add_argument("--remat", help="model.remat of our side")
  parser.add_argument(
    "--set",
    nargs="+",
    default=[],
    metavar="KEY=VALUE",
    help="further options of the config, such as model.encoder_depth=2",
  )
  parser.add_argument(
    "--product", type=int, default=0, help="side of the matrix product"
  )
  parser.add_argument(
    "--turns", type=int, default=5, help="timed steps of each"
  )
  parser.add_argument(
    "--no-torch", action="store_true", help="ours alone, nothing compared"
  )


def run(args: argparse.Namespace) -> int:
  """Exit code 0, or 1 where the two sides' numbers of parameters differ."""
  import jax

  from sigma_jax.bench import step_jax, step_torch

  on_cpu = jax.default_backend() == "cpu"
  dtype = args.dtype or ("float32" if on_cpu else "bfloat16")
  changes = {
    "train.batch_size": args.batch or (2 if on_cpu else 40),
    "model.dtype": dtype,
    "target.dtype": dtype,
  }
  if args.remat:
    changes["model.remat"] = args.remat
  for change in args.set:
    key, equals, value = change.partition("=")
    if not equals:
      raise errors.UserError(f"--set {change!r} is not KEY=VALUE")
    changes[key] = value
  options = {"config": args.config, "changes": changes}
  settings = step_jax.read_settings(options)
  if settings.task not in ("pretrain", "supervised"):
    raise errors.UserError(
      f"{args.config}: task {settings.task!r} trains no steps"
    )
  work = _work(settings)
  size = args.product or (4096 if on_cpu else 8192)
  contenders = {
    "matmul": ("matmul_jax", {"size": size, "dtype": dtype}),
    "sigma_jax": ("step_jax", options),
  }
  with_torch = not args.no_torch and step_torch.is_written_for(settings)
  if with_torch and importlib.util.find_spec("torch"):
    contenders["pytorch"] = ("step_torch", options)
  failed: dict[str, str] = {}
  with tempfile.TemporaryDirectory() as folder:
    outcomes = contest.hold(contenders, args.turns, folder, failed)
  contest.need(outcomes, ("matmul",), failed)
  result = _result(outcomes, settings, work, size) | {"failed": failed or None}
  output.show(result, args.json)
  counts = {
    outcomes[name].facts["parameters"] for name in outcomes if name != "matmul"
  }
  return 0 if len(counts) == 1 and not failed else 1


def _work(settings: settings_lib.Settings) -> float:
  """FLOPs of a step's matrix products as the model defines them.

  Nothing recomputed, nothing saved: what both sides are measured by.
  """
  import jax

  from sigma_jax.bench import flops, step_jax
  from sigma_jax.methods import method
  from sigma_jax.models import attention
  from sigma_jax.train import steps, supervised

  plain = dataclasses.replace(
    settings,
    model=dataclasses.replace(settings.model, remat="none"),
    loss=dataclasses.replace(settings.loss, kernels="keep"),
  )
  batch = jax.eval_shape(lambda: step_jax.batch(plain))
  # XLA's own attention: the tiled one computes scores twice.
  with attention.on_platform("any"):
    if plain.task == "pretrain":
      gradient = jax.grad(steps.pretrain_loss, has_aux=True)
      abstract = method.of(plain).abstract
      return flops.matmul_flops(
        lambda params, frozen, video, key: gradient(
          params, frozen, plain, video, key
        ),
        abstract.params,
        abstract.frozen,
        batch["video"],
        jax.random.key(0),
      )
    task = supervised.Task(plain, step_jax.CLASSES)

    def loss(params, frozen, video):
      # Any target: the loss itself has no products.
      return task.outputs(params, frozen, video).sum()

    params, frozen = jax.eval_shape(lambda: step_jax.supervised_params(task))
    return flops.matmul_flops(jax.grad(loss), params, frozen, batch["video"])


def _result(outcomes, settings, work: float, size: int) -> dict:
  """Rows of the table; `work` is a step's matrix FLOPs, without recomputing."""
  peak = 2.0 * size**3 / outcomes["matmul"].median
  rows = []
  for name, found in outcomes.items():
    done = 2.0 * size**3 if name == "matmul" else work
    row = {
      "contender": name,
      "seconds": found.median,
      "least": min(found.seconds),
      "clips_per_s": None,
      "tflop_per_s": done / found.median / 1e12,
      "share_of_peak": done / found.median / peak,
      "extra_mb": None,
      "times_faster": None,
    }
    if name != "matmul":
      row["clips_per_s"] = settings.train.batch_size / found.median
      row["extra_mb"] = found.extra_bytes / 1e6
      if "pytorch" in outcomes:
        row["times_faster"] = outcomes["pytorch"].median / found.median
    rows.append(row)
  return {
    "title": (
      f"step: {_name(settings)}, "
      f"{settings.train.batch_size} clips, {settings.model.dtype}, "
      f"{work / 1e12:.3g} TFLOP in matrix products; "
      f"{len(outcomes['matmul'].seconds)} turns, median"
    ),
    "rows": rows,
    "cpu": output.processor(),
    "contenders": {name: found.facts for name, found in outcomes.items()},
  }


def _name(settings) -> str:
  from sigma_jax.methods import method

  if settings.task == "pretrain":
    return method.of(settings).describe().title
  return "fine-tuning" if settings.supervised.trains == "all" else "probe"
