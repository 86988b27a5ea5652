"""V-JEPA: features of hidden blocks, predicted from those of the rest.

An encoder sees a part of a clip, its context. From that, a predictor predicts
the features of the hidden tubes. The targets come from a slow copy of the
encoder, which sees the whole clip (https://arxiv.org/abs/2404.08471). With
rotary positions it is V-JEPA 2's pre-training
(https://arxiv.org/abs/2506.09985) on clips of one length.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import block_masks, freeze, keys
from sigma_jax import settings as settings_lib
from sigma_jax.losses import health, latent
from sigma_jax.methods import method
from sigma_jax.models import predictor, vit


@dataclasses.dataclass(frozen=True)
class Options(settings_lib.Method):
  """`config.method` of V-JEPA; the predictor has `model.decoder_*`."""

  name: str = "vjepa"
  # Kinds of masks, each by its own place in these: blocks a clip, the share of
  # a frame that each covers, and the tokens that every clip is cut to, of
  # context and of targets. Empty: the published cut's for these clips.
  blocks: tuple[int, ...] = (8, 2)
  areas: tuple[float, ...] = (0.15, 0.7)
  context: tuple[int, ...] = ()
  targets: tuple[int, ...] = ()
  # What goes where a side has too many tokens: raster, the last, as published;
  # random.
  cut: str = "raster"
  exponent: float = 1.0  # e of |predicted - target|^e / e
  regularizer: float = 0.0  # weight of mean relu(1 - deviation)
  # Of the slow encoder: linear from the first to the second over a run
  # optimizer.stretch times as long as this one.
  momentum: float = 0.998
  momentum_end: float = 1.0
  # Which mask token each kind of mask has: kind, one of its own, as V-JEPA;
  # one, the first, as V-JEPA 2 does with clips of one length.
  mask_token: str = "kind"

  def __post_init__(self):
    freeze.choice("method.cut", self.cut, ("raster", "random"))
    freeze.choice("method.mask_token", self.mask_token, ("kind", "one"))
    freeze.positive("method", self, "exponent")
    freeze.within("method", self, "[0, 1]", "momentum", "momentum_end")
    kinds = len(self.blocks)
    sizes = {len(self.context) or kinds, len(self.targets) or kinds}
    if not kinds or {len(self.areas), *sizes} != {kinds}:
      raise ValueError(
        "method.blocks, areas, context and targets must have one value for "
        "each kind of mask (context and targets may be empty)"
      )
    if min(self.blocks) < 1 or not 0 < min(self.areas) <= max(self.areas) <= 1:
      raise ValueError(
        "method.blocks must be from 1 up and method.areas in (0, 1], got "
        f"{self.blocks} and {self.areas}"
      )


class Networks(nnx.Module):
  """What is trained; both see nothing but the context."""

  def __init__(self, settings: settings_lib.Settings, *, rngs: nnx.Rngs):
    model, grid = settings.model, settings.grid
    self.encoder = vit.Encoder(model, grid, rngs=rngs)
    kinds = len(settings.method.blocks)
    self.predictor = predictor.Predictor(
      model, grid, mask_tokens=kinds, rngs=rngs
    )


class VJepa(method.Method):
  """The method; see the module."""

  Options = Options
  evaluated = ("slow", "encoder")
  shown = ("target_std", "context_std", "predicted_std")

  def module(self, rngs):
    return Networks(self.settings, rngs=rngs)

  def follows(self):
    return {"encoder": method.Follow("encoder", self._momentum)}

  def _momentum(self, step):
    options = self.options
    if self.length is None:  # a step on its own, as benchmarks take it
      return options.momentum
    length = self.settings.optimizer.stretch * self.length.steps
    return momentum(options.momentum, options.momentum_end, length)(step)

  def load(self):
    _ = self.kinds  # refused before any clip is read
    return {}

  def optimizer(self):
    return {"decayed": ("mask_tokens",)}

  def prepare(self, batch, key, frozen):
    video, model = batch["video"], self.settings.model
    tubes = vit.split_tubes(video, model.tubelet, model.patch)
    return tubes, self.masks(keys.of(key, keys.Use.MASK), len(video))

  @functools.cached_property
  def kinds(self) -> list[tuple[block_masks.Blocks, tuple[int, int]]]:
    """Blocks, and tokens of context and targets, of each kind of mask.

    Raises:
      UserError: counts that clips do not reach.
    """
    options, grid, found = self.options, self.settings.grid, []
    for kind, number in enumerate(options.blocks):
      blocks = block_masks.Blocks(number, (options.areas[kind],) * 2)
      usual = block_masks.counts(grid, blocks)
      counts = (
        options.context[kind] if options.context else usual[0],
        options.targets[kind] if options.targets else usual[1],
      )
      block_masks.check(grid, blocks, counts)
      found.append((blocks, counts))
    return found

  def masks(self, key: jax.Array, count: int) -> list[block_masks.Mask]:
    """One of each kind for every clip."""
    return [
      block_masks.sample(
        jax.random.fold_in(key, kind),
        count,
        grid=self.settings.grid,
        blocks=blocks,
        counts=counts,
        random_cut=self.options.cut == "random",
      )
      for kind, (blocks, counts) in enumerate(self.kinds)
    ]

  def features(self, weights, inputs):
    tubes, masks = inputs
    return features(
      self.networks(weights.params, {}),
      self.networks({**weights.params, **weights.slow}, {}).encoder,
      tubes,
      masks,
      [0 if self.options.mask_token == "one" else k for k in range(len(masks))],
    )

  def loss(self, heads, features, carry, step, where):
    options = self.options
    predicted, target = features["predicted"], features["target"]
    distances = [
      latent.distance(ours, theirs, options.exponent)
      for ours, theirs in zip(predicted, target, strict=True)
    ]
    loss = sum(distances) / len(distances)
    deviation = sum(map(latent.spread, predicted)) / len(predicted)
    metrics = {f"distance_{k}": each for k, each in enumerate(distances)}
    metrics |= {
      "predicted_std": jnp.mean(deviation),
      "target_std": health.clip_std(features["slow"]),
      "context_std": health.clip_std(features["encoded"][0]),
    }
    metrics["loss"] = loss
    if options.regularizer:
      loss += options.regularizer * jnp.mean(jax.nn.relu(1 - deviation))
      metrics["loss"] = loss
    return method.Judged(loss, carry, metrics)

  def signs(self, step, first, now):
    found = {}
    for name, whose in (("target_std", "slow"), ("context_std", "online")):
      std, before = now.get(name), first.get(name)
      if std is not None and before is not None and std < 0.1 * before:
        found[name] = (
          f"the {whose} encoder's features of all clips have become alike "
          f"(deviation {std:.3g}, from {before:.3g}): nothing but its slow "
          "target keeps V-JEPA from that; raise method.momentum or lower "
          "optimizer.base_lr"
        )
    return found

  def describe(self):
    model, options = self.settings.model, self.options
    chart = method.Chart
    blocks = " and ".join(
      f"{number} of {area:.0%}"
      for number, area in zip(options.blocks, options.areas, strict=True)
    )
    return method.Description(
      "V-JEPA 2" if model.positions == "rotary" else "V-JEPA",
      tubes=f"blocks hidden: {blocks} of a frame",
      facts=(
        (
          "Predictor",
          f"{model.decoder_depth} blocks, width {model.decoder_dim}",
        ),
        ("Momentum", f"{options.momentum:g} to {options.momentum_end:g}"),
      ),
      charts=(
        chart("Loss", "mean distance", {"loss": ""}, floor=None),
        chart(
          "Feature deviation",
          "std over clips",
          {"context_std": "online", "target_std": "slow"},
        ),
        chart("Prediction deviation", "std in a clip", {"predicted_std": ""}),
      ),
    )

  def hidden(self, key, video):
    count = len(video)
    total = int(np.prod(self.settings.grid))
    context = np.asarray(self.masks(key, count)[0].context)
    seen = np.zeros((count, total), bool)
    np.put_along_axis(seen, context, True, axis=1)
    return ~seen.reshape(count, *self.settings.grid)


def momentum(start: float, end: float, length: float):
  """Linear from `start` at step 0 to `end` at step `length`."""
  change = (end - start) / length
  return lambda step: start + jnp.asarray(step, jnp.float32) * change


def features(networks, slow, tubes, masks, mask_tokens) -> dict:
  """What the loss compares.

  Args:
    networks: `Networks`. slow: the encoder that targets are of.
    tubes: uint8 [b, n, values].
    masks: one `block_masks.Mask` for each kind.
    mask_tokens: the predictor's mask token for each kind.

  Returns:
    predicted, target: float32 [b, g, d] of each kind; encoded: each kind's
    context [b, c, d]; slow: every token that targets are taken from, before
    they are normalised, [b, n, d]. The latter two have no gradient.
  """
  with jax.named_scope("target"):
    every = jax.lax.stop_gradient(slow(tubes))
    normal = latent.normalize(every)
  encoded = [networks.encoder(tubes, mask.context) for mask in masks]
  predicted = [
    networks.predictor(tokens, *mask, token)
    for tokens, mask, token in zip(encoded, masks, mask_tokens, strict=True)
  ]
  return {
    "predicted": predicted,
    "target": [vit.gather_tokens(normal, mask.targets) for mask in masks],
    "encoded": [jax.lax.stop_gradient(tokens) for tokens in encoded],
    "slow": every,
  }
