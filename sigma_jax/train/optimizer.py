"""AdamW with linear warmup and cosine decay, as VideoMAE and SIGMA train."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
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

  The query of V-JEPA's probe, [1, d], counts as a matrix there and here.

  Blocks are stacked along a leading depth axis, so the rule goes by name and
  not by the number of axes; an index behind it is a block's, see `layout`.
  """

  def rule(path, leaf):
    del leaf
    names = [entry.key for entry in path if hasattr(entry, "key")]
    return names[-1] in ("kernel", "prototypes", "query_tokens")

  return jax.tree_util.tree_map_with_path(rule, params)


class Average(NamedTuple):
  """State of `moving_average`: the average, a tree like the parameters."""

  params: optax.Params


def moving_average(decay: float) -> optax.GradientTransformation:
  """Keeps decay * average + (1 - decay) * parameters of every step.

  To stand last in a chain, which it leaves as it is. The average starts at the
  initial parameters.
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

  i is 0 for the embedding, the number from 1 of a block, L + 1 for the head
  and the last norm (https://arxiv.org/abs/2106.08254). Stacked blocks have a
  factor a block, shaped to multiply their leaves.

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


def _clipped(
  inner: optax.GradientTransformation, max_norm: float
) -> optax.GradientTransformation:
  """`inner` of gradients whose global norm is at most `max_norm`.

  Clipping keeps no state, so the state is that of `inner`: a run can be resumed
  with clipping switched on or off. (`optax.chain` would give it a place.)
  """
  clip = optax.clip_by_global_norm(max_norm)

  def update(updates, state, params=None):
    updates, _ = clip.update(updates, clip.init(None))
    return inner.update(updates, state, params)

  return optax.GradientTransformation(inner.init, update)


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
  """Steps that the warm-up is to take, however long the run is."""
  return round(optimizer.warmup_epochs * steps_per_epoch)


def make(
  optimizer: settings_lib.Optimizer,
  *,
  batch_size: int,
  total_steps: int,
  steps_per_epoch: float,
  factors: Callable[[dict], dict] | None = None,
  average: float = 0.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimiser of a run and its learning-rate schedule.

  Args:
    optimizer: rates are per 256 clips and scaled to `batch_size` here.
    batch_size: clips of the global batch.
    total_steps: steps of the run.
    steps_per_epoch: converts the warm-up's epochs to steps.
    factors: parameters -> a tree of factors of their rates; None: all 1.
    average: decay of a moving average of the parameters; 0: none is kept.
  """
  scale = batch_size / 256
  warmup = min(warmup_steps(optimizer, steps_per_epoch), total_steps)
  schedule = cosine_schedule(
    optimizer.base_lr * scale, optimizer.min_lr * scale, total_steps, warmup
  )
  decay = optimizer.weight_decay
  if optimizer.weight_decay_end >= 0:
    end = optimizer.weight_decay_end
    decay = cosine_schedule(decay, end, total_steps, 0)
  adamw = optax.adamw(
    schedule,
    b1=optimizer.b1,
    b2=optimizer.b2,
    weight_decay=decay,
    mask=decay_mask,
  )
  if optimizer.clip_norm > 0:
    adamw = _clipped(adamw, optimizer.clip_norm)
  steps = [adamw]
  if factors is not None:
    steps.append(_scale(factors))
  if average:
    steps.append(moving_average(average))
  return optax.chain(*steps), schedule
