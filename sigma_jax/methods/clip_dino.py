"""DINO on clips: views predict what a slow teacher says of another view.

https://arxiv.org/abs/2104.14294, and on video https://arxiv.org/abs/2112.01514.
This is not `target.kind=dino`, a frozen image model whose features SIGMA takes
as a target. The teacher, a slow copy of the encoder and the head, sees the two
large views. Evaluations take the teacher's encoder. With
`optimizer.clip_by=parameter` gradients are clipped as in DINO.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from sigma_jax import freeze
from sigma_jax import settings as settings_lib
from sigma_jax.losses import distilled
from sigma_jax.methods import method, views
from sigma_jax.models import projection, vit


@dataclasses.dataclass(frozen=True)
class Options(views.Options):
  """`config.method` of DINO on clips."""

  shapes: ClassVar[tuple[str, ...]] = ("hidden", "bottleneck", "outputs")
  name: str = "clip_dino"
  hidden: int = 2048  # width inside the head
  bottleneck: int = 256  # before its last layer
  outputs: int = 65536  # k
  temperature_start: float = 0.04  # the teacher's at first
  temperature: float = 0.07  # the teacher's later; it goes there linearly
  temperature_epochs: int = 30  # in which the teacher's temperature rises
  student_temperature: float = 0.1
  # Share of the teacher that stays at a step: from momentum to momentum_end, by
  # a cosine.
  momentum: float = 0.996
  momentum_end: float = 1.0
  centre_momentum: float = 0.9  # share of the centre that stays at a step
  freeze_epochs: float = 1.0  # first epochs without training the last layer
  blur_prob: tuple[float, ...] = (1.0, 0.1, 0.5)
  solarize_prob: tuple[float, ...] = (0.0, 0.2, 0.0)

  def __post_init__(self):
    super().__post_init__()
    freeze.positive("method", self, "hidden", "bottleneck", "outputs")
    freeze.positive("method", self, "temperature_start", "temperature")
    freeze.positive("method", self, "student_temperature")
    freeze.not_negative("method", self, "temperature_epochs", "freeze_epochs")
    freeze.within(
      "method", self, "[0, 1]", "momentum", "momentum_end", "centre_momentum"
    )


class Networks(nnx.Module):
  """What is trained, and what the teacher is a slow copy of."""

  def __init__(self, run: settings_lib.Settings, *, rngs: nnx.Rngs):
    options = run.method
    self.encoder = vit.Encoder(run.model, run.grid, rngs=rngs)
    self.head = projection.Bottleneck(
      run.model.encoder_dim, options.hidden, options.bottleneck, rngs=rngs
    )
    self.last = projection.UnitRows(
      options.bottleneck, options.outputs, rngs=rngs
    )


class ClipDino(views.Compared, method.Method):
  """The method; see the module."""

  Options = Options
  evaluated = ("slow", "encoder")
  shown = ("teacher_entropy", "outputs_in_use", "target_std")

  def module(self, rngs):
    return Networks(self.settings, rngs=rngs)

  def follows(self):
    parts = ("encoder", "head", "last")
    return {name: method.Follow(name, self._momentum) for name in parts}

  def _momentum(self, step):
    options = self.options
    if self.length is None:  # a step on its own, as benchmarks take it
      return options.momentum
    share = jnp.asarray(step, jnp.float32) / self.length.steps
    return views.cosine(options.momentum, options.momentum_end, share)

  def carry(self):
    return {"centre": jnp.zeros((self.options.outputs,), jnp.float32)}

  def optimizer(self):
    frozen = views.steps_of(self.options.freeze_epochs, self.length)
    return {"decayed": ("directions",), "held": {"last": frozen}}

  def features(self, weights, inputs):
    student = self.networks(weights.params, {})
    teacher = self.networks({**weights.params, **weights.slow}, {})
    embedded = views.embedded(
      self.settings, student.encoder, weights.params["encoder"], inputs
    )
    target = views.embed(teacher.encoder, inputs[0])
    return {
      "student": [_outputs(student, each) for each in embedded],
      "teacher": jax.lax.stop_gradient(_outputs(teacher, target)),
      "embedded": jax.lax.stop_gradient(embedded[0]),
      "target": jax.lax.stop_gradient(target),
    }

  def _temperature(self, step: jax.Array) -> jax.Array:
    """The teacher's at a step; it changes from epoch to epoch."""
    options = self.options
    epoch = 0.0
    if self.length is not None:
      epoch = jnp.floor(jnp.asarray(step, jnp.float32) / self.length.epoch)
    return distilled.teacher_temperature(
      epoch,
      options.temperature_start,
      options.temperature,
      options.temperature_epochs,
    )

  def loss(self, heads, features, carry, step, where):
    options = self.options
    teacher = views.apart([features["teacher"]])
    temperature = self._temperature(step)
    loss = distilled.loss(
      views.apart(features["student"]),
      teacher,
      carry["centre"],
      teacher_temperature=temperature,
      student_temperature=options.student_temperature,
    )
    said = jnp.stack(
      [
        distilled.probabilities(each, carry["centre"], temperature)
        for each in teacher
      ]
    )
    centre = distilled.moved_centre(
      carry["centre"], teacher, options.centre_momentum
    )
    metrics = {
      "loss": loss,
      "teacher_entropy": jnp.mean(_entropy(said)),
      "outputs_in_use": jnp.exp(_entropy(jnp.mean(said, axis=(0, 1)))),
      "centre_norm": jnp.sqrt(jnp.sum(jnp.square(centre))),
      "teacher_temperature": temperature,
      "embedding_std": views.deviation(features["embedded"]),
      "target_std": views.deviation(features["target"]),
    }
    return method.Judged(loss, {"centre": centre}, metrics)

  def signs(self, step, first, now):
    found = {}
    for name, whose in (
      ("target_std", "teacher"),
      ("embedding_std", "student"),
    ):
      std, before = now[name], first[name]
      if std < 0.1 * before:
        found[name] = (
          f"the {whose}'s embeddings of all clips have become alike "
          f"(deviation {std:.3g}, from {before:.3g}): raise method.momentum or "
          "lower optimizer.base_lr"
        )
    if not views.settled(step, self.length):
      return found
    most = math.log(self.options.outputs)
    if now["teacher_entropy"] > 0.99 * most:
      found["uniform"] = (
        f"the teacher says the same of all {self.options.outputs:,} outputs "
        f"(entropy {now['teacher_entropy']:.3f} of at most {most:.3f}): lower "
        "method.temperature_start and method.temperature, raise "
        "method.momentum (0.9995 with few clips a batch) or "
        "method.freeze_epochs, or take fewer method.outputs"
      )
    if now["outputs_in_use"] < 1.5:
      found["one"] = (
        "one output has nearly all of the teacher's probability for every "
        f"clip ({now['outputs_in_use']:.2f} outputs in use): lower "
        "method.centre_momentum, so that the centre follows sooner, or raise "
        "method.temperature"
      )
    return found

  def describe(self):
    options, chart = self.options, method.Chart
    most = math.log(options.outputs)
    return method.Description(
      "DINO on clips",
      tubes=views.words(self.settings),
      facts=(
        (
          "Head",
          f"three maps, width {options.hidden}, to {options.bottleneck}; "
          f"{options.outputs:,} outputs",
        ),
        (
          "Teacher",
          f"momentum {options.momentum:g} to {options.momentum_end:g}, "
          f"τ {options.temperature_start:g} to {options.temperature:g}",
        ),
      ),
      charts=(
        chart("Loss", "nats", {"loss": ""}, 1, ("guessing, ln k", most), None),
        chart("Teacher's entropy", "nats", {"teacher_entropy": ""}, 1),
        chart("Outputs in use", "of the mean", {"outputs_in_use": ""}),
        chart(
          "Embedding deviation",
          "std over clips",
          {"embedding_std": "student", "target_std": "teacher"},
        ),
      ),
    )


def _outputs(networks: Networks, embedded: jax.Array) -> jax.Array:
  """float32 [b, count, k]."""
  return views.head_of(lambda x: networks.last(networks.head(x)), embedded)


def _entropy(probabilities: jax.Array) -> jax.Array:
  """Nats, over the last axis."""
  kept = jnp.where(probabilities > 0, probabilities, 1.0)
  return -jnp.sum(probabilities * jnp.log(kept), axis=-1)
