"""The training step of each task, pure: state and batch -> state and metrics.

Randomness comes from the step number: `fold_in(key, step)`, no stored keys, so
that a resumed run draws what the unbroken one would have drawn.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, health
from sigma_jax.models import sigma
from sigma_jax.train import state as state_lib

Metrics = dict[str, jax.Array]
Step = Callable[
  [state_lib.TrainState, dict, dict[str, jax.Array]],
  tuple[state_lib.TrainState, Metrics],
]


def pretrain_step(
  settings: settings_lib.Settings,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
) -> Step:
  """One masked pre-training step, to be jitted with the state donated.

  The batch is {"video": uint8 [b, t, h, w, 3]} over all devices; the transport
  problem runs over the tubes of this global batch.

  Returns:
    The step: (state, frozen weights or {}, batch) -> (state, metrics). Metrics
    are float32 scalars: loss, learning_rate, grad_norm
    and the health figures of `losses.health`.
  """
  graph = sigma.abstract(settings).graph

  def step(state, frozen, batch):
    key = jax.random.fold_in(jax.random.key(settings.seed), state.step)
    params = project_prototypes(state.params)
    gradient = jax.value_and_grad(pretrain_loss, has_aux=True)
    (_, metrics), grads = gradient(
      params, frozen, graph, settings, batch["video"], key
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    metrics["grad_norm"] = optax.tree.norm(grads)
    metrics["learning_rate"] = schedule(state.step)
    params = optax.apply_updates(params, updates)
    return state_lib.TrainState(state.step + 1, params, opt_state), metrics

  return step


def project_prototypes(params: dict) -> dict:
  """Parameters with the prototypes put back on the unit sphere."""
  if "prototypes" not in params:
    return params
  return {**params, "prototypes": assignment.normalize(params["prototypes"])}


def pretrain_loss(
  params: dict,
  frozen: dict,
  graph: nnx.GraphDef,
  settings: settings_lib.Settings,
  video: jax.Array,
  key: jax.Array,
) -> tuple[jax.Array, Metrics]:
  """Loss of one batch under the mask that `key` draws.

  Args:
    params: nested dict of float32, prototypes already on the sphere.
    frozen: weights that have no gradient, or {}.
    graph: static part of the model, from `sigma.abstract`.
    settings: the run.
    video: uint8 [b, t, h, w, 3].
    key: `jax.random.key` of this step.
  """
  mask = masking.sample(
    key,
    video.shape[0],
    kind=settings.masking.kind,
    grid=settings.grid,
    ratio=settings.masking.ratio,
  )
  features = sigma.merge(graph, params, frozen)(video, mask)
  metrics = {
    "feature_std": health.feature_std(features.video),
    "target_std": health.feature_std(features.target),
  }
  if settings.loss.kind == "l2":
    loss = jnp.mean(jnp.square(features.video - features.target))
    return loss, {"loss": loss, **metrics}
  options = settings.loss
  loss, (by_video, by_target) = assignment.loss(
    features.video,
    features.target,
    params["prototypes"],
    epsilon=options.epsilon,
    rounds=options.rounds,
    temperature=options.temperature,
    labels=options.labels,
  )
  usage = health.prototype_usage(by_target.labels, options.num_prototypes)
  metrics |= {
    "agreement": health.agreement(by_video.labels, by_target.labels),
    **usage,
  }
  return loss, {"loss": loss, **metrics}
