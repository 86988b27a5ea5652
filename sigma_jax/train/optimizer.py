"""AdamW with linear warmup and cosine decay, as VideoMAE and SIGMA train."""

import jax
import numpy as np
import optax

from sigma_jax import settings as settings_lib


def cosine_schedule(
  base: float, final: float, total_steps: int, warmup_steps: int
) -> optax.Schedule:
  """Learning rate at every step.

  Linear from 0 to `base`, both reached, over `warmup_steps` steps; then
  final + (base - final) (1 + cos(pi i / n)) / 2 for i = 0 .. n - 1, n the
  steps left. The published schedule, step for step.

  Args:
    base, final: peak and final learning rate.
    total_steps: steps of the run.
    warmup_steps: of which warm-up; at most total_steps.
  """
  decay_steps = max(total_steps - warmup_steps, 1)

  def schedule(step):
    step = jax.numpy.asarray(step, jax.numpy.float32)
    rising = base * step / max(warmup_steps - 1, 1)
    share = jax.numpy.clip((step - warmup_steps) / decay_steps, 0.0, 1.0)
    falling = final + 0.5 * (base - final) * (1 + jax.numpy.cos(np.pi * share))
    return jax.numpy.where(step < warmup_steps, rising, falling)

  return schedule


def decay_mask(params: dict) -> dict:
  """True where weight decay applies: matrices; not biases, norms, mask token.

  Blocks are stacked along a leading depth axis, so the rule goes by name and
  not by the number of axes.
  """

  def rule(path, leaf):
    name = str(path[-1].key)
    return name in ("kernel", "prototypes")

  return jax.tree_util.tree_map_with_path(rule, params)


def make(
  optimizer: settings_lib.Optimizer,
  *,
  batch_size: int,
  total_steps: int,
  steps_per_epoch: float,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimiser of a run and its learning-rate schedule.

  Args:
    optimizer: rates are per 256 clips and scaled to `batch_size` here.
    batch_size: clips of the global batch.
    total_steps: steps of the run.
    steps_per_epoch: converts the warm-up's epochs to steps.
  """
  scale = batch_size / 256
  warmup = min(round(optimizer.warmup_epochs * steps_per_epoch), total_steps)
  schedule = cosine_schedule(
    optimizer.base_lr * scale, optimizer.min_lr * scale, total_steps, warmup
  )
  steps = []
  if optimizer.clip_norm > 0:
    steps.append(optax.clip_by_global_norm(optimizer.clip_norm))
  steps.append(
    optax.adamw(
      schedule,
      b1=optimizer.b1,
      b2=optimizer.b2,
      weight_decay=optimizer.weight_decay,
      mask=decay_mask,
    )
  )
  return optax.chain(*steps), schedule
