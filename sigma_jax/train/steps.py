"""The training step of each task, pure: state and batch -> state and metrics.

Randomness comes from the step number, see `keys`, and no key is stored: a
resumed run draws what the unbroken one would have drawn.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sigma_jax import keys, masking
from sigma_jax import settings as settings_lib
from sigma_jax.augment import flips
from sigma_jax.losses import assignment, health, plans, tiled
from sigma_jax.models import attention, sigma, targets, vit
from sigma_jax.train import mesh as mesh_lib
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
  mesh: jax.sharding.Mesh | None = None,
) -> Step:
  """One masked pre-training step, to be jitted with the state donated.

  The batch is {"video": uint8 [b, t, h, w, 3]} over all devices; the transport
  problem runs over the tubes of this global batch.

  Args:
    settings: the run.
    optimizer, schedule: from `optimizer.make`.
    mesh: of the batch; None where there is one device.

  Returns:
    The step: (state, frozen weights or {}, batch) -> (state, metrics). Metrics
    are float32 scalars: loss, learning_rate, grad_norm, flat_tubes (the share
    of tubes of one colour) and the health figures of `losses.health`.
  """
  graph = sigma.abstract(settings).graph
  platform = platform_of(mesh)
  gradients = _accumulated
  if settings.train.accumulate == 1:
    gradients = jax.value_and_grad(pretrain_loss, has_aux=True)

  def step(state, frozen, batch):
    key = keys.of_step(settings.seed, state.step)
    params = project_prototypes(state.params)
    whole = mesh_lib.whole(params, mesh)
    video = mirrored(settings, key, batch["video"], mesh)
    with attention.on_platform(platform):
      (_, metrics), grads = gradients(
        whole, frozen, graph, settings, video, key, mesh
      )
    tubes = vit.split_tubes(video, settings.model.tubelet, settings.model.patch)
    metrics["flat_tubes"] = jnp.mean(targets.is_flat(tubes).astype(jnp.float32))
    metrics["learning_rate"] = schedule(state.step)
    return advance(state, params, grads, metrics, optimizer, mesh)

  return step


def mirrored(
  settings: settings_lib.Settings,
  key: jax.Array,
  video: jax.Array,
  mesh: jax.sharding.Mesh | None,
) -> jax.Array:
  """The step's clips, mirrored at random where `data.flip` says so."""
  if not settings.data.flip:
    return video
  spread = mesh_lib.over_batch(mesh) if mesh is not None else None
  return flips.flip(keys.of(key, keys.Use.MIRROR), video, spread)


def advance(
  state: state_lib.TrainState,
  params: dict,
  grads: dict,
  metrics: Metrics,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh | None,
) -> tuple[state_lib.TrainState, Metrics]:
  """What ends every step: the update, and the gradients' norm as a metric.

  Args:
    state: before the step.
    params: of the state, possibly projected.
    grads: by the whole parameters, see `mesh.whole`.
    metrics: of the step; `grad_norm` is added.
    optimizer, mesh: of the run.
  """
  grads = mesh_lib.shares(grads, mesh)
  updates, opt_state = optimizer.update(grads, state.opt_state, params)
  metrics = metrics | {"grad_norm": optax.tree.norm(grads)}
  if platform_of(mesh) == "cpu":
    updates = _after(metrics["grad_norm"], updates)
  params = optax.apply_updates(params, updates)
  return state_lib.TrainState(state.step + 1, params, opt_state), metrics


def _after(grad_norm: jax.Array, updates: dict) -> dict:
  """Updates that wait for all gradients, and are 0 if those are not finite.

  By the order of things, a parameter could be updated before the last product
  that reads it: XLA on CPU therefore copies those that no scan holds, which is
  all of ViT-B's blocks, 377 MB a step. The norm makes the order plain.
  """
  finite = jnp.isfinite(grad_norm)
  return jax.tree.map(lambda update: jnp.where(finite, update, 0.0), updates)


def jit(
  step: Step, mesh: jax.sharding.Mesh, state: state_lib.TrainState
) -> Step:
  """A step as it is run: the state donated and kept where it is.

  Args:
    step: from `pretrain_step` or its like.
    mesh: of the run.
    state: arrays, or ShapeDtypeStructs with shardings.
  """
  shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
  return jax.jit(
    step,
    donate_argnums=0,
    out_shardings=(shardings, mesh_lib.replicated(mesh)),
  )


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
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[jax.Array, Metrics]:
  """Loss of one batch under the masks of a step.

  Args:
    params: nested dict of float32, prototypes already on the sphere.
    frozen: weights that have no gradient, or {}.
    graph: static part of the model, from `sigma.abstract`.
    settings: the run.
    video: uint8 [b, t, h, w, 3].
    key: of this step, see `keys.of_step`.
    mesh: as for `pretrain_step`.
  """
  mask = masks(settings, video.shape[0], key)
  features = sigma.merge(graph, params, frozen)(video, mask)
  return _judge(features, params.get("prototypes"), settings, mesh)


def _accumulated(params, frozen, graph, settings, video, key, mesh=None):
  """((loss, metrics), gradients) of a batch that is run in several parts.

  The assignments stay those of the global batch: all parts' features come
  first, then the loss and its gradients by the features, then each part once
  more, forward and backward. That is a third more work than keeping every
  activation, and the memory of one part; features alone are held for all.
  """
  parts = settings.train.accumulate

  # Every device keeps its own clips: a part takes each parts-th one.
  def cut(x):
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

  def join(x):
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

  def features_of(params, part):
    return sigma.merge(graph, params, frozen)(*part)

  batch = jax.tree.map(cut, (video, masks(settings, video.shape[0], key)))
  _, features = jax.lax.scan(
    lambda _, part: (None, features_of(params, part)), None, batch
  )
  judge = jax.value_and_grad(_judge, argnums=(0, 1), has_aux=True)
  judged, (by_features, by_prototypes) = judge(
    jax.tree.map(join, features), params.get("prototypes"), settings, mesh
  )

  def body(sums, item):
    part, by_part = item
    _, pull = jax.vjp(lambda params: features_of(params, part), params)
    return jax.tree.map(jnp.add, sums, pull(by_part)[0]), None

  grads, _ = jax.lax.scan(
    body,
    jax.tree.map(jnp.zeros_like, params),
    (batch, jax.tree.map(cut, by_features)),
  )
  if by_prototypes is not None:
    grads["prototypes"] += by_prototypes
  return judged, grads


def masks(
  settings: settings_lib.Settings, batch_size: int, key: jax.Array
) -> masking.Mask:
  """Those of the step that `key` is of, for the clips of its global batch."""
  return masking.sample(
    keys.of(key, keys.Use.MASK),
    batch_size,
    kind=settings.masking.kind,
    grid=settings.grid,
    ratio=settings.masking.ratio,
  )


def _judge(features, prototypes, settings, mesh) -> tuple[jax.Array, Metrics]:
  """Loss and metrics of a global batch's features, [b, m, p] both."""
  metrics = {
    "feature_std": health.feature_std(features.video),
    "target_std": health.feature_std(features.target),
  }
  if settings.loss.kind == "l2":
    loss = jnp.mean(jnp.square(features.video - features.target))
    return loss, {"loss": loss, **metrics}
  loss, (by_video, by_target) = tiled.loss(
    features.video,
    features.target,
    prototypes,
    loss_plan(settings, features.video.shape, mesh),
    mesh_lib.over_batch(mesh) if mesh is not None else None,
  )
  usage = health.prototype_usage(by_target, settings.loss.num_prototypes)
  agreement = health.agreement(by_video, by_target)
  return loss, {"loss": loss, **metrics, "agreement": agreement, **usage}


def loss_plan(
  settings: settings_lib.Settings,
  shape: tuple[int, ...],
  mesh: jax.sharding.Mesh | None,
) -> plans.Plan:
  """How the run computes its assignment loss on features of [b, m, p]."""
  options = settings.loss
  return plans.make(
    num_tubes=shape[0] * shape[1],
    num_devices=1 if mesh is None else mesh.size,
    num_prototypes=options.num_prototypes,
    platform=platform_of(mesh),
    epsilon=options.epsilon,
    rounds=options.rounds,
    temperature=options.temperature,
    labels=options.labels,
    kernels=options.kernels,
    dtype=settings.model.dtype,
  )


def platform_of(mesh: jax.sharding.Mesh | None) -> str:
  """cpu, gpu or tpu: what the step is compiled for."""
  if mesh is None:
    return jax.default_backend()
  return mesh.devices.flat[0].platform
