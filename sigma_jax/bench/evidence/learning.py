"""A short pre-training of the toy model; a linear map judges its features.

Clips are drawn in memory: moving shapes over waves. Nothing but JAX is needed,
no files, no decoder. It shows that what trains here learns.
"""

import argparse
import time

import numpy as np

from sigma_jax import errors, paths
from sigma_jax.bench import output

_SHAPES = 10  # appearances
_EVERY = 20  # steps between losses that are kept
_FIRST_SEED = 1000  # of the clips; shapes have the ones from 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument("--config", type=paths.argument, default="configs/toy.py")
  parser.add_argument("--steps", type=int, default=200)
  parser.add_argument("--clips", type=int, default=1536, help="drawn")
  parser.add_argument("--batch", type=int, default=48, help="clips a step")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"))


def run(args: argparse.Namespace) -> int:
  """Exit code 0, or 1 where the loss did not fall or is no number."""
  for name in ("steps", "clips", "batch"):
    if getattr(args, name) <= 0:
      raise errors.UserError(f"--{name} must be positive")
  if args.clips < args.batch:
    raise errors.UserError("--clips must be at least --batch")
  from sigma_jax.bench import step_jax

  changes = {"train.batch_size": args.batch, "train.steps": args.steps}
  if args.dtype:
    changes["model.dtype"] = args.dtype
  settings = step_jax.read_settings({"config": args.config, "changes": changes})
  videos, motions = _clips(args.clips, settings)
  half = len(videos) // 2
  training = step_jax.Training(settings, args.steps)
  before = _judged(settings, training.params["encoder"], videos, motions)
  losses, start = [], None
  draw = np.random.default_rng(0)
  for step in range(args.steps):
    rows = draw.choice(len(videos), args.batch, replace=False)
    metrics = training.step(step_jax.batch(settings, videos[rows]))
    if step % _EVERY == 0 or step == args.steps - 1:
      losses.append(float(metrics["loss"]))
    start = start or time.perf_counter()  # after the first step
  seconds = time.perf_counter() - start
  after = _judged(settings, training.params["encoder"], videos, motions)
  row = {
    "steps": args.steps,
    "first_loss": losses[0],
    "last_loss": losses[-1],
    "linear_before": before,
    "linear_after": after,
    "clips_per_s": args.batch * (args.steps - 1) / seconds,
    "compile_s": training.compile_seconds,
  }
  result = {
    "title": f"learn: {args.config}, {args.batch} clips a step; a linear map "
    f"tells motions of {len(videos) - half} clips drawn in memory, %",
    "rows": [row],
    "losses": losses,
    "cpu": output.processor(),
    "versions": output.versions("jax", "jaxlib", "flax", "optax"),
  }
  output.show(result, args.json)
  return 0 if losses[-1] < losses[0] else 1


def _clips(count: int, settings) -> tuple[np.ndarray, np.ndarray]:
  """uint8 [count, t, size, size, 3], and motions int [count]."""
  from sigma_jax.data.toy import render

  shapes = [_shape(seed) for seed in range(_SHAPES)]
  frames, size = settings.data.num_frames, settings.data.size
  videos, motions = [], []
  for number in range(count):
    rng = np.random.default_rng(_FIRST_SEED + number)
    motion = number % len(render.MOTIONS)
    sprite = shapes[rng.integers(_SHAPES)]
    clip = render.draw(rng, [sprite], [motion]).frames
    edge = (clip.shape[1] - size) // 2
    videos.append(clip[:frames, edge : edge + size, edge : edge + size])
    motions.append(motion)
  return np.stack(videos), np.array(motions)


def _shape(seed: int) -> np.ndarray:
  """A smooth figure, float32 [32, 32] in [0, 1]."""
  from scipy import ndimage

  noise = np.random.default_rng(seed).standard_normal((32, 32))
  middle = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, 32)] * 2))
  figure = ndimage.gaussian_filter(noise, 4) * 8 + 1.2 - 2 * middle
  return np.clip(4 * figure, 0, 1).astype(np.float32)


def _judged(settings, encoder, videos, motions) -> float:
  """Fitted on the first half, top-1 on the second in %."""
  import jax

  from sigma_jax import settings as settings_lib
  from sigma_jax.evaluate import features, linear
  from sigma_jax.train import mesh as mesh_lib

  size, mesh = 64, mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])

  def batches():
    for first in range(0, len(videos), size):
      index = np.arange(first, first + size)
      yield {
        "video": videos[np.minimum(index, len(videos) - 1)],
        "index": index.astype(np.int32),
        "valid": index < len(videos),
      }

  found = features.extract(settings, {"it": encoder}, batches(), mesh)["it"]
  half = len(videos) // 2
  bank, test = features.standardize(
    found.features[:half], found.features[half:]
  )
  votes, _ = linear.predict(
    bank,
    motions[:half],
    test,
    num_classes=motions.max() + 1,
    penalties=(1e-3,),
    groups=np.arange(half),
  )
  return 100 * float(np.mean(votes.argmax(axis=1) == motions[half:]))
