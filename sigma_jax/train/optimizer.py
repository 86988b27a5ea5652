"""AdamW with linear warmup and cosine decay, as VideoMAE and SIGMA train."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sigma_jax import settings as settings_lib
from sigma_jax.train import parts


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


def stretched_schedule(
  start: float, base: float, final: float, *, length: int, warmup: int
) -> optax.Schedule:
  """V-JEPA's: step k, counted from 1, of a run that ends before `length`.

  start + (base - start) k / warmup up to the warm-up's last step; then
  final + (base - final) (1 + cos(pi (k - warmup) / (length - warmup))) / 2.
  (src/utils/schedulers.py of https://github.com/facebookresearch/jepa)

  Args:
    start, base, final: at the beginning, at the peak and at `length`.
    length: steps of the run that the schedule is made for.
    warmup: steps of its warm-up; 0: none.
  """

  def schedule(step):
    k = jnp.asarray(step, jnp.float32) + 1
    rising = start + k / max(warmup, 1) * (base - start)
    share = (k - warmup) / max(length - warmup, 1)
    falling = final + 0.5 * (base - final) * (1 + jnp.cos(np.pi * share))
    return jnp.where(k < warmup, rising, falling)

  return schedule


def linear_schedule(base: float, final: float, length: int) -> optax.Schedule:
  """V-JEPA 2's cooldown: to `final` at step `length`, steps from 1."""

  def schedule(step):
    k = jnp.asarray(step, jnp.float32) + 1
    return base + k / length * (final - base)

  return schedule


def stable_schedule(
  start: float,
  base: float,
  final: float,
  *,
  warmup: int,
  anneal: int,
  total: int,
) -> optax.Schedule:
  """V-JEPA 2's third: warm-up, `base`, and a straight fall in the end.

  Args:
    start, base, final: at the beginning, in between and in the end.
    warmup, anneal: steps of the rise and of the fall.
    total: steps of the run.
  """
  begin = total - anneal

  def schedule(step):
    k = jnp.asarray(step, jnp.float32) + 1
    rising = start + k / max(warmup, 1) * (base - start)
    falling = base + (k - begin) / max(anneal, 1) * (final - base)
    return jnp.where(k < warmup, rising, jnp.where(k < begin, base, falling))

  return schedule


def decay_mask(params: dict, decayed: tuple[str, ...] = ()) -> dict:
  """True where weight decay applies: matrices; not biases, norms, mask token.

  The query of V-JEPA's probe, [1, d], counts as a matrix there and here.

  Blocks are stacked along a leading depth axis. So the rule looks at names and
  not at the number of axes. An index after a name is a block's, see `layout`.

  Args:
    params: nested dict.
    decayed: further names that weight decay applies to, from the method.
  """

  def rule(path, leaf):
    del leaf
    names = [entry.key for entry in path if hasattr(entry, "key")]
    return names[-1] in ("kernel", "prototypes", "query_tokens", *decayed)

  return jax.tree_util.tree_map_with_path(rule, params)


class Average(NamedTuple):
  """State of `moving_average`: the average, a tree like the parameters."""

  params: optax.Params


def moving_average(decay: float) -> optax.GradientTransformation:
  """Keeps decay * average + (1 - decay) * parameters of every step.

  It has to be the last of a chain, whose updates it does not change. The
  average starts at the initial parameters.
  """

  def update(updates, state, params):
    new = optax.apply_updates(params, updates)
    average = jax.tree.map(
      lambda old, leaf: decay * old + (1 - decay) * leaf, state.params, new
    )
    return updates, Average(average)

  return optax.GradientTransformation(
    lambda params: Average(jax.tree.map(jnp.array, params)), update
  )


def averaged(opt_state) -> optax.Params | None:
  """The moving average in an optimiser's state, if it holds one."""
  found = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, Average))
  found = [state.params for state in found if isinstance(state, Average)]
  return found[0] if found else None


def layer_decay(params: dict, decay: float) -> dict:
  """Factor of each parameter's rate: decay^(L + 1 - i) for a depth of L.

  i is 0 for the embedding, a block's number from 1, and L + 1 for the head and
  the last norm (https://arxiv.org/abs/2106.08254). Stacked blocks have one
  factor for each block, in a shape that multiplies their arrays.

  Args:
    params: of `models.heads.Classifier`.
    decay: above 0.
  """
  blocks = jax.tree.leaves_with_path(params["encoder"]["stack"]["blocks"])
  indices = [p[-1].idx for p, _ in blocks if hasattr(p[-1], "idx")]
  depth = max(indices) + 1 if indices else len(blocks[0][1])

  def factor(path, leaf):
    names = [entry.key for entry in path if hasattr(entry, "key")]
    if names[0] != "encoder" or names[1] == "norm":
      return 1.0
    if "blocks" not in names:
      return decay ** (depth + 1)
    if hasattr(path[-1], "idx"):
      return decay ** (depth - path[-1].idx)
    powers = decay ** (depth - np.arange(depth))
    return powers.astype(np.float32).reshape(-1, *[1] * (leaf.ndim - 1))

  return jax.tree_util.tree_map_with_path(factor, params)


def _later(schedule: optax.Schedule, begin: int) -> optax.Schedule:
  """A schedule for what counts its own steps from `begin` on."""
  return (lambda step: schedule(step + begin)) if begin else schedule


def _scale(factors: Callable[[dict], dict]) -> optax.GradientTransformation:
  """Multiplies updates by what `factors` makes of the parameters' tree."""
  return optax.stateless(
    lambda updates, params: jax.tree.map(
      lambda update, factor: update * factor, updates, factors(params)
    )
  )


def warmup_steps(
  optimizer: settings_lib.Optimizer, steps_per_epoch: float
) -> int:
  """Steps of the warm-up, however long the run is."""
  return round(optimizer.warmup_epochs * steps_per_epoch)


def schedules(
  options: settings_lib.Optimizer, batch_size: int, total: int, warmup: int
) -> tuple[optax.Schedule, optax.Schedule | float]:
  """Of the learning rate, and of weight decay where it has one.

  Args:
    options: of the run.
    batch_size: clips of the global batch.
    total: steps of the run.
    warmup: steps of its warm-up.
  """
  decay, end = options.weight_decay, options.weight_decay_end
  if options.schedule == "cosine":
    scale = batch_size / 256
    rates = options.base_lr * scale, options.min_lr * scale
    if end >= 0:
      decay = cosine_schedule(decay, end, total, 0)
    return cosine_schedule(*rates, total, min(warmup, total)), decay
  length = int(options.stretch * total)
  if end >= 0:
    decay = stretched_schedule(decay, decay, end, length=length, warmup=0)
  if options.schedule == "linear":
    return linear_schedule(options.base_lr, options.min_lr, length), decay
  rate = stretched_schedule(
    options.start_lr,
    options.base_lr,
    options.min_lr,
    length=length,
    warmup=warmup,
  )
  return rate, decay


def make(
  optimizer: settings_lib.Optimizer,
  *,
  batch_size: int,
  total_steps: int,
  steps_per_epoch: float,
  factors: Callable[[dict], dict] | None = None,
  average: float = 0.0,
  decayed: tuple[str, ...] = (),
  held: dict[str, int] | None = None,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimiser of a run and its learning-rate schedule.

  Args:
    optimizer: rates are per 256 clips and scaled to `batch_size` here.
    batch_size: clips of the global batch.
    total_steps: steps of the run.
    steps_per_epoch: converts the warm-up's epochs to steps.
    factors: parameters -> a tree of factors of their rates; None: all 1.
    average: decay of a moving average of the parameters; 0: none is kept.
    decayed: see `decay_mask`.
    held: part of the parameters -> number of first steps without training it.
  """
  warmup = warmup_steps(optimizer, steps_per_epoch)
  schedule, decay = schedules(optimizer, batch_size, total_steps, warmup)

  def adam(begin: int = 0):
    return optax.adamw(
      _later(schedule, begin),
      b1=optimizer.b1,
      b2=optimizer.b2,
      weight_decay=_later(decay, begin) if callable(decay) else decay,
      mask=functools.partial(decay_mask, decayed=decayed),
    )

  adamw = parts.hold(adam, held) if held else adam()
  if optimizer.clip_norm > 0:
    late = optimizer.clip_after_warmup
    adamw = parts.clipped(
      adamw,
      optimizer.clip_norm,
      optimizer.clip_by,
      warmup + round(steps_per_epoch) if late else 0,
    )
  steps = [adamw]
  if factors is not None:
    steps.append(_scale(factors))
  if average:
    steps.append(moving_average(average))
  return optax.chain(*steps), schedule
