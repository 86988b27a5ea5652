"""The training step of each task, pure: state and batch -> state and metrics.

Randomness comes from the step number, see `keys`, and no key is stored: a
resumed run draws what the unbroken one would have drawn.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from sigma_jax import keys
from sigma_jax import settings as settings_lib
from sigma_jax.augment import flips, views
from sigma_jax.methods import method as method_lib
from sigma_jax.models import attention, targets, vit
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
  method: method_lib.Method | None = None,
) -> Step:
  """One step of pre-training, whatever the method; to be jitted.

  The batch has the method's inputs, of which "video" is uint8 [b, t, h, w, 3],
  and further views [b, count, t, h, w, 3], over all devices; "luma" is mirrored
  with "video". The loss is that of this global batch.

  Args:
    settings: the run.
    optimizer, schedule: from `optimizer.make`.
    mesh: of the batch; None where there is one device.
    method: of the run, with its length; None: one that knows no length.

  Returns:
    The step: (state, frozen weights or {}, batch) -> (state, metrics). Metrics
    are float32 scalars: the method's, learning_rate, grad_norm, and flat_tubes
    (the share of tubes of one colour).
  """
  method = method or method_lib.of(settings)

  def step(state, frozen, batch):
    key = keys.of_step(settings.seed, state.step)
    params = method.project(state.params)
    whole = mesh_lib.whole((params, state.slow), mesh)
    with jax.named_scope("inputs"):
      video = mirrored(settings, key, batch["video"], mesh)
      batch = _changed(method, key, {**batch, "video": video}, mesh)
      inputs = method.prepare(batch, key, frozen)
    with attention.on_platform(*where(mesh), kind=settings.model.attention):
      judged, grads = _gradients(
        method,
        method_lib.Weights(*whole, frozen),
        inputs,
        state.carry,
        state.step,
        where(mesh),
      )
    metrics = dict(judged.metrics)
    tubes = vit.split_tubes(video, settings.model.tubelet, settings.model.patch)
    metrics["flat_tubes"] = jnp.mean(targets.is_flat(tubes).astype(jnp.float32))
    metrics["learning_rate"] = schedule(state.step)
    state = state._replace(carry=judged.carry)
    new, metrics = advance(state, params, grads, metrics, optimizer, mesh)
    return new._replace(slow=_followed(method, state, new.params)), metrics

  return step


@jax.named_scope("optimizer")
def _followed(method, state: state_lib.TrainState, params: dict) -> dict:
  """The moving averages after the step that made `params`."""

  return {
    name: method_lib.moved(
      state.slow[name], params[following.of], following.momentum(state.step)
    )
    for name, following in method.follows().items()
  }


def mirrored(
  settings: settings_lib.Settings,
  key: jax.Array,
  video: jax.Array,
  mesh: jax.sharding.Mesh | None,
) -> jax.Array:
  """The step's clips, mirrored at random where `data.flip` says so.

  Args:
    settings, key, mesh: of the step.
    video: uint8 [b, ..., h, w, c].
  """
  if not settings.data.flip:
    return video
  spread = mesh_lib.over_batch(mesh) if mesh is not None else None
  return flips.flip(keys.of(key, keys.Use.MIRROR), video, spread)


def _changed(method, key: jax.Array, batch: dict, mesh) -> dict:
  """The batch with what stands beside its clips changed as they are.

  Further views are mirrored by themselves, grey frames with their clips; clips
  and views get the method's colours.
  """
  spread = mesh_lib.over_batch(mesh) if mesh is not None else None
  names = [view.name for view in method.views()]
  colours = method.colours()
  found = dict(batch)
  # Numbered by place: an entry draws the same whatever others are called.
  for number, name in enumerate(("video", *names)):
    shape = batch[name].shape
    clips = batch[name].reshape(-1, *shape[-4:])
    if name in names and method.settings.data.flip:
      of_view = jax.random.fold_in(keys.of(key, keys.Use.VIEW_MIRROR), number)
      clips = flips.flip(of_view, clips, spread)
    if name in colours:
      of_view = jax.random.fold_in(keys.of(key, keys.Use.COLOURS), number)
      clips = views.change(of_view, clips, colours[name], spread)
    found[name] = clips.reshape(shape)
  if "luma" in batch:
    luma = mirrored(method.settings, key, batch["luma"][..., None], mesh)
    found["luma"] = luma[..., 0]
  return found


@jax.named_scope("optimizer")
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
  state = state._replace(
    step=state.step + 1, params=params, opt_state=opt_state
  )
  return state, metrics


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


def pretrain_loss(
  params: dict,
  frozen: dict,
  settings: settings_lib.Settings,
  video: jax.Array,
  key: jax.Array,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[jax.Array, Metrics]:
  """Loss and metrics of a fresh run's first batch, not in parts.

  Args:
    params: nested dict of float32, projected already.
    frozen: weights that have no gradient, or {}.
    settings: the run.
    video: uint8 [b, t, h, w, 3].
    key: of this step, see `keys.of_step`.
    mesh: as for `pretrain_step`.
  """
  method = method_lib.of(settings)
  slow, carry = method_lib.beside(method, params)
  inputs = method.prepare(method.batch(video), key, frozen)
  judged = _judge(
    method,
    method_lib.Weights(params, slow, frozen),
    inputs,
    carry,
    jnp.int32(0),
    where(mesh),
  )
  return judged.loss, judged.metrics


def _judge(method, weights, inputs, carry, step, where) -> method_lib.Judged:
  features = method.features(weights, inputs)
  heads = _heads(method, weights.params)
  with jax.named_scope("loss"):
    return method.loss(heads, features, carry, step, where)


def _heads(method, params: dict) -> dict:
  return {name: params[name] for name in method.heads}


def _gradients(method, weights, inputs, carry, step, where):
  """What the loss says of a batch, and the gradients by the parameters."""
  if method.settings.train.accumulate > 1:
    return _accumulated(method, weights, inputs, carry, step, where)

  def loss(params):
    judged = _judge(
      method, weights._replace(params=params), inputs, carry, step, where
    )
    return judged.loss, judged

  grads, judged = jax.grad(loss, has_aux=True)(weights.params)
  return judged, grads


def _accumulated(method, weights, inputs, carry, step, where):
  """`_gradients` of a batch that is run in several parts.

  The loss stays that of the global batch: all parts' features come first, then
  the loss and its gradients by the features, then each part once more, forward
  and backward. That is a third more work than keeping every activation, and
  the memory of one part; features alone are held for all.
  """
  parts = method.settings.train.accumulate
  params = weights.params

  # Every device keeps its own clips: a part takes each parts-th one.
  def cut(x):
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

  def join(x):
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

  def features_of(params, part):
    return method.features(weights._replace(params=params), part)

  batch = jax.tree.map(cut, inputs)
  _, features = jax.lax.scan(
    lambda _, part: (None, features_of(params, part)), None, batch
  )

  def loss(features, heads):
    with jax.named_scope("loss"):
      judged = method.loss(heads, features, carry, step, where)
    return judged.loss, judged

  (by_features, by_heads), judged = jax.grad(
    loss, argnums=(0, 1), has_aux=True
  )(jax.tree.map(join, features), _heads(method, params))

  def body(sums, item):
    part, by_part = item
    _, pull = jax.vjp(lambda params: features_of(params, part), params)
    return jax.tree.map(jnp.add, sums, pull(by_part)[0]), None

  grads, _ = jax.lax.scan(
    body,
    jax.tree.map(jnp.zeros_like, params),
    (batch, jax.tree.map(cut, by_features)),
  )
  for name, gradient in by_heads.items():
    grads[name] = jax.tree.map(jnp.add, grads[name], gradient)
  return judged, grads


def where(mesh: jax.sharding.Mesh | None) -> method_lib.Where:
  """What a loss has to know of the devices."""
  if mesh is None:
    return method_lib.Where(platform_of(None))
  return method_lib.Where(
    platform_of(mesh), mesh.size, mesh_lib.over_batch(mesh)
  )


def platform_of(mesh: jax.sharding.Mesh | None) -> str:
  """cpu, gpu or tpu: what the step is compiled for."""
  if mesh is None:
    return jax.default_backend()
  return mesh.devices.flat[0].platform
