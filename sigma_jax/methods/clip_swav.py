"""SwAV on clips: each view of a video predicts the assignments of the others.

https://arxiv.org/abs/2006.09882, and on video https://arxiv.org/abs/2104.14558.
The encoder is trained together with a head and prototypes. Assignments are
balanced over the global batch, and also over a queue of earlier clips if there
is one. Evaluations take the encoder.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax import freeze
from sigma_jax import settings as settings_lib
from sigma_jax.losses import health, swapped
from sigma_jax.methods import method, views
from sigma_jax.models import projection, vit


@dataclasses.dataclass(frozen=True)
class Options(views.Options):
  """`config.method` of SwAV on clips."""

  shapes: ClassVar[tuple[str, ...]] = ("hidden", "dim", "prototypes", "queue")
  name: str = "clip_swav"
  hidden: int = 2048  # width inside the head
  dim: int = 128  # of embeddings and prototypes
  prototypes: int = 1000  # k
  epsilon: float = 0.05  # of the assignments' transport problem
  rounds: int = 3  # Sinkhorn rounds
  temperature: float = 0.1  # of the predictions
  # How many earlier clips of each large view are kept, so that assignments are
  # balanced over them too. It is used once it is full. 0: none.
  queue: int = 0
  queue_epochs: float = 15.0  # epochs before the queue begins to be filled
  freeze_epochs: float = 1.0  # first epochs without training the prototypes

  def __post_init__(self):
    super().__post_init__()
    freeze.positive("method", self, "hidden", "dim", "prototypes")
    freeze.positive("method", self, "epsilon", "rounds", "temperature")
    freeze.not_negative(
      "method", self, "queue", "queue_epochs", "freeze_epochs"
    )

  def unread(self):
    found = super().unread()
    if not self.queue:
      found += (("method.queue_epochs", "method.queue is 0"),)
    return found


class Networks(nnx.Module):
  """What is trained."""

  def __init__(self, run: settings_lib.Settings, *, rngs: nnx.Rngs):
    options = run.method
    self.encoder = vit.Encoder(run.model, run.grid, rngs=rngs)
    self.head = projection.Projection(
      run.model.encoder_dim, options.hidden, options.dim, rngs=rngs
    )
    self.prototypes = projection.prototypes(
      options.prototypes, options.dim, rngs=rngs
    )


class ClipSwav(views.Compared, method.Method):
  """The method; see the module."""

  Options = Options
  heads = ("prototypes",)
  shown = ("agreement", "used", "embedding_std")

  def module(self, rngs):
    return Networks(self.settings, rngs=rngs)

  def carry(self):
    options = self.options
    if not options.queue:
      return {}
    shape = (views.GLOBAL, options.queue, options.dim)
    return {"queue": jnp.zeros(shape, jnp.float32)}

  def project(self, params):
    return {**params, "prototypes": projection.unit(params["prototypes"])}

  def optimizer(self):
    frozen = views.steps_of(self.options.freeze_epochs, self.length)
    return {"held": {"prototypes": frozen}}

  def features(self, weights, inputs):
    networks = self.networks(weights.params, {})
    embedded = views.embedded(
      self.settings, networks.encoder, weights.params["encoder"], inputs
    )
    return {
      "outputs": [views.head_of(networks.head, each) for each in embedded],
      "embedded": jax.lax.stop_gradient(embedded[0]),
    }

  def loss(self, heads, features, carry, step, where):
    options = self.options
    queue = carry.get("queue")
    found = swapped.loss(
      views.apart(features["outputs"]),
      heads["prototypes"],
      queue,
      assigned=views.GLOBAL,
      epsilon=options.epsilon,
      rounds=options.rounds,
      temperature=options.temperature,
    )
    labels = jnp.argmax(found.codes, axis=-1)
    metrics = {
      "loss": found.loss,
      "agreement": health.agreement(*labels),
      "embedding_std": views.deviation(features["embedded"]),
    }
    metrics |= self._usage(labels)
    if queue is not None:
      begun = step >= views.steps_of(options.queue_epochs, self.length)
      carry = {"queue": jnp.where(begun, found.queue, queue)}
      metrics["queue_full"] = swapped.full(queue[0]).astype(jnp.float32)
    return method.Judged(found.loss, carry, metrics)

  def _usage(self, labels: jax.Array) -> dict[str, jax.Array]:
    """As `health.prototype_usage`, of those that a batch could use at most."""
    total = self.options.prototypes
    found = health.prototype_usage(labels, total)
    return found | {"used": found["used"] * total / min(total, labels.size)}

  def signs(self, step, first, now):
    found = {}
    std, before = now["embedding_std"], first["embedding_std"]
    if std < 0.1 * before:
      found["std"] = (
        f"the encoder's embeddings of all clips have become alike (deviation "
        f"{std:.3g}, from {before:.3g}): lower optimizer.base_lr, or raise "
        "method.freeze_epochs"
      )
    held = views.steps_of(self.options.freeze_epochs, self.length)
    if step < held or not views.settled(step, self.length):
      return found
    guess = math.log(self.options.prototypes)
    if now["loss"] > 0.98 * guess:
      queue = (
        "; the queue is in use: if the loss rose with it, make method.queue "
        "shorter or method.queue_epochs larger"
        if now.get("queue_full")
        else ""
      )
      found["uniform"] = (
        f"predictions are no better than guessing (loss {now['loss']:.3f}, "
        f"ln {self.options.prototypes} = {guess:.3f}): lower method.epsilon, "
        "raise method.freeze_epochs, or take fewer method.local_views or "
        f"method.prototypes{queue}"
      )
    if now["used"] < 0.25:
      found["used"] = (
        f"clips share few prototypes (only {100 * now['used']:.0f}% of those "
        "that a batch could use): raise method.rounds, or take fewer "
        "method.prototypes, or, where a batch is far smaller than their "
        "number, a method.queue"
      )
    return found

  def describe(self):
    options, chart = self.options, method.Chart
    queue = f", queue of {options.queue:,}" if options.queue else ""
    guess = ("guessing, ln k", math.log(options.prototypes))
    return method.Description(
      "SwAV on clips",
      tubes=views.words(self.settings),
      facts=(
        ("Head", f"three maps, width {options.hidden}, to {options.dim}"),
        (
          "Loss",
          f"{options.prototypes:,} prototypes, ε {options.epsilon:g}, "
          f"{options.rounds} rounds, τ {options.temperature:g}{queue}",
        ),
      ),
      charts=(
        chart("Loss", "nats", {"loss": ""}, 1, guess, None),
        chart("Agreement", "% of clips", {"agreement": ""}, 100),
        chart("Embedding deviation", "std over clips", {"embedding_std": ""}),
        chart("Prototypes in use", "% of possible", {"used": ""}, 100),
      ),
    )
