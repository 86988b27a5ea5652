"""The training step with labels: fine-tuning and probes of a frozen encoder.

Recipes as of VideoMAE and SIGMA; see docs/EVALUATION.md.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sigma_jax import keys
from sigma_jax import settings as settings_lib
from sigma_jax.augment import batches
from sigma_jax.models import attention, heads, layers
from sigma_jax.train import loop, optimizer, steps
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib


class Task(NamedTuple):
  """A training with labels.

  settings: the run; its `model` is `init`'s. num_outputs: c: classes, or 1 for
  counting.
  """

  settings: settings_lib.Settings
  num_outputs: int

  @property
  def frozen_encoder(self) -> bool:
    """Whether only heads are trained."""
    return self.settings.supervised.trains == "head"

  def module(self, rngs: nnx.Rngs) -> heads.Classifier:
    """The encoder with one head."""
    options = self.settings.supervised
    return heads.Classifier(
      self.settings.model,
      self.settings.grid,
      self.num_outputs,
      pooling=options.pooling,
      scale=options.head_scale,
      pool_blocks=options.pool_blocks,
      pool_heads=options.pool_heads,
      rngs=rngs,
    )

  def fresh(self, key: jax.Array) -> dict:
    """Random parameters of `module`; jit-able."""
    return nnx.to_pure_dict(nnx.split(self.module(nnx.Rngs(key)))[1])

  def init_params(self, key: jax.Array) -> dict:
    """Fresh parameters: `state.Fresh.params`.

    Fine-tuning: of `module`. Probes: of the head alone, as often as there are
    rates, along a leading axis.
    """
    params = self.fresh(key)
    if not self.frozen_encoder:
      return params
    count = len(self.settings.supervised.rates)
    return jax.tree.map(
      lambda leaf: jnp.stack([leaf] * count),
      {name: part for name, part in params.items() if name != "encoder"},
    )

  def fresh_frozen(self, key: jax.Array) -> dict:
    """Random weights of what is not trained; jit-able."""
    return (
      {"encoder": self.fresh(key)["encoder"]} if self.frozen_encoder else {}
    )

  def batch(self, video: jax.Array) -> dict[str, jax.Array]:
    """A batch of clips with empty targets, for shapes: `loop.Job.batch`."""
    kind, shape = self.settings.supervised.targets, (len(video),)
    if kind == "multilabel":
      shape += (self.num_outputs,)
    dtype = jnp.int32 if kind == "classes" else jnp.float32
    return {"video": video, "target": jnp.zeros(shape, dtype)}

  def outputs(
    self,
    params: dict,
    frozen: dict,
    video: jax.Array,
    drop: layers.DropPath | None = None,
  ) -> jax.Array:
    """What the heads say, float32 [r, b, c]: r is 1 in fine-tuning.

    Args:
      params: trained.
      frozen: {"encoder": ...} where only heads are trained, else {}.
      video: uint8 [b, t, h, w, 3].
      drop: stochastic depth; training only.
    """
    graph = nnx.split(nnx.eval_shape(lambda: self.module(nnx.Rngs(0))))[0]
    if not self.frozen_encoder:
      model = nnx.merge(graph, params)
      return model(video, drop=drop)[None]

    def merged(head):
      return nnx.merge(graph, {**head, "encoder": frozen["encoder"]})

    first = jax.tree.map(lambda leaf: leaf[0], params)
    # Nothing random: the published probes leave stochastic depth on in the
    # frozen encoder, an oversight.
    tokens = merged(first).tokens(video)
    tokens = jax.lax.stop_gradient(tokens)
    return jax.vmap(lambda head: merged(head).outputs(tokens))(params)


def job(task: Task) -> loop.Job:
  """The task as `loop.run` trains it; batches hold `video` and `target`."""
  options = task.settings.supervised
  if task.frozen_encoder:
    rates = np.asarray(options.rates, np.float32)

    def factors(params):
      return jax.tree.map(
        lambda leaf: rates.reshape(-1, *[1] * (leaf.ndim - 1)), params
      )
  else:

    def factors(params):
      decay = optimizer.layer_decay(params, options.layer_decay)
      return jax.tree.map(lambda factor: factor * options.rates[0], decay)

  return loop.Job(
    make_step=lambda _, *rest: make_step(task, *rest),
    fresh=state_lib.Fresh(task.init_params),
    inputs=("video", "target"),
    batch=task.batch,
    optimizer={"factors": factors, "average": options.ema},
  )


def make_step(
  task: Task,
  tx: optax.GradientTransformation,
  schedule: optax.Schedule,
  mesh: jax.sharding.Mesh | None = None,
) -> steps.Step:
  """One step, to be jitted with the state donated.

  The batch is {"video": uint8 [b, t, h, w, 3], "target": int32 [b] classes,
  float32 [b, c] of several or float32 [b] counts}, over all devices.
  What is drawn is a function of seed, step and the clip's place in the batch,
  whatever the devices and the parts.

  Returns:
    The step: (state, frozen, batch) -> (state, metrics). Metrics are float32
    scalars: loss (of several heads the mean), learning_rate, grad_norm.
  """
  settings = task.settings
  spread = mesh_lib.over_batch(mesh) if mesh is not None else None

  def step(state: state_lib.TrainState, frozen, batch):
    key = keys.of_step(settings.seed, state.step)
    with jax.named_scope("inputs"):
      video = steps.mirrored(settings, key, batch["video"], mesh)
      video, target = _augmented(task, key, video, batch["target"], spread)
    whole = mesh_lib.whole(state.params, mesh)
    place = steps.where(mesh)
    with attention.on_platform(*place, kind=settings.model.attention):
      loss, grads = _gradients(task, whole, frozen, video, target, key)
    metrics = {
      # The gradient is of the sum, so that each head has its own.
      "loss": loss / len(settings.supervised.rates),
      "learning_rate": schedule(state.step),
    }
    return steps.advance(state, state.params, grads, metrics, tx, mesh)

  return step


def forward(task: Task, mesh: jax.sharding.Mesh) -> Callable:
  """What predicts the clips of a batch, jitted.

  Returns:
    forward((trained, frozen), video): of `Task.outputs`' arguments, what
    `predictions` says of each head, float32 [r, b, c], on every device.
  """
  config = task.settings

  @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(mesh))
  def run(arrays, video):
    whole = mesh_lib.whole(arrays[0], mesh)
    kind = config.model.attention
    with attention.on_platform(*steps.where(mesh), kind=kind):
      outputs = task.outputs(whole, arrays[1], video)
    return predictions(config.supervised.targets, outputs)

  return run


def _augmented(task: Task, key, video, target, spread: Callable | None):
  """Clips and what they are to give: probabilities, classes or counts."""
  settings = task.settings
  if settings.supervised.targets == "classes":
    return batches.batch(
      key,
      video,
      target,
      task.num_outputs,
      settings.augment,
      samples=settings.data.samples,
      spread=spread,
    )
  return batches.clips(key, video, settings.augment, spread), target


def _gradients(task: Task, params, frozen, video, target, key):
  """Loss and gradients of a batch, in `train.accumulate` parts."""
  parts = task.settings.train.accumulate
  rate = task.settings.supervised.drop_path
  of_drops = keys.of(key, keys.Use.DROP_PATH)
  clips = jnp.arange(len(video))

  def loss_of(params, video, target, clips):
    drop = layers.DropPath(of_drops, rate, clips) if rate else None
    outputs = task.outputs(params, frozen, video, drop)
    return jnp.sum(losses(task.settings.supervised.targets, outputs, target))

  gradients = jax.value_and_grad(loss_of)
  if parts == 1:
    return gradients(params, video, target, clips)

  # Every device keeps its own clips: a part takes each parts-th one.
  def cut(x):
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

  def body(sums, item):
    return jax.tree.map(jnp.add, sums, gradients(params, *item)), None

  start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params))
  items = (cut(video), cut(target), cut(clips))
  sums = jax.lax.scan(body, start, items)[0]
  return jax.tree.map(lambda leaf: leaf / parts, sums)


@jax.named_scope("loss")
def losses(targets: str, outputs: jax.Array, target: jax.Array) -> jax.Array:
  """Each head's mean loss, float32 [r].

  Args:
    targets: of `settings.Supervised`.
    outputs: float32 [r, b, c].
    target: float32 [b, c]: probabilities, or ones where a class occurs
      (multilabel: sigmoid cross-entropy, averaged over classes); float32 [b]
      counts (Huber loss of the count).
  """
  if targets == "count":
    found = optax.huber_loss(counts(outputs), target[None])
  elif targets == "multilabel":
    found = optax.sigmoid_binary_cross_entropy(outputs, target[None])
    found = jnp.mean(found, axis=-1)
  else:
    found = optax.softmax_cross_entropy(outputs, target[None])
  return jnp.mean(found, axis=1)


def counts(outputs: jax.Array) -> jax.Array:
  """float32 [..., 1] -> float32 [...], not negative."""
  return jax.nn.softplus(outputs[..., 0])


def predictions(targets: str, outputs: jax.Array) -> jax.Array:
  """What is averaged over views, from float32 [..., c].

  Probabilities [..., c] of classes (they sum to 1) or of each class by itself,
  or counts [..., 1].
  """
  if targets == "count":
    return counts(outputs)[..., None]
  if targets == "multilabel":
    return jax.nn.sigmoid(outputs)
  return jax.nn.softmax(outputs, axis=-1)
