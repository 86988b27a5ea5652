"""MME, masked motion encoding: how hidden tubes look and how they move.

VideoMAE's model predicts, instead of pixels, a histogram of oriented gradients
(shape) and short tracks of the cells (position) of every hidden tube
(https://arxiv.org/abs/2210.06096; code https://github.com/XinyuSun/MME at
17689a9). Both targets are made on the device inside the step. Tracks come from
grey frames of the video between those of the clip. Nothing has to be prepared.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import errors, freeze, keys
from sigma_jax import settings as settings_lib
from sigma_jax.losses import described as described_loss
from sigma_jax.methods import guided, method
from sigma_jax.models import described, hog, vit
from sigma_jax.motion import flow, trajectories

_CELLS = 2  # along a tube's side
_STILL = 0.01  # of the tubes, that move in themselves


@dataclasses.dataclass(frozen=True)
class Options(settings_lib.Method):
  """`config.method` of MME; masks are the section masking.

  The defaults are what we think is right. "Published" is what MME's code does.
  """

  name: str = "mme"
  steps: int = 4  # of a track, frames of the video
  # affine: the motion that most of a frame follows is taken off each step.
  # none: it is not, which MME's released trajectories may or may not have.
  camera: str = "affine"
  # float: between pixels. whole: flow cut to whole pixels, as published.
  tracking: str = "float"
  # patch_std: how the cells of a tube move against each other, by their
  # deviation + epsilon (pixels). none: displacements, in 20 pixels. Published:
  # patch_std with 2e-5, which makes noise of flow as large as motion.
  trajectory_norm: str = "patch_std"
  epsilon: float = 0.1
  trajectory_scale: float = 1.0  # of their part of the loss
  # Of histograms: none, l2, l2hys or std, over blocks of 2 x 2 cells.
  hog_norm: str = "none"
  # Derivatives get an offset each, uniform within this, drawn anew each step.
  # Published: 1 / 3, by a layer's forgotten bias.
  hog_bias: float = 0.0
  head_hidden: int = 512  # width inside both heads

  def __post_init__(self):
    freeze.choice("method.camera", self.camera, ("affine", "none"))
    freeze.choice("method.tracking", self.tracking, ("float", "whole"))
    freeze.choice(
      "method.trajectory_norm", self.trajectory_norm, trajectories.NORMS
    )
    freeze.choice("method.hog_norm", self.hog_norm, hog.NORMS)
    freeze.positive("method", self, "steps", "epsilon", "head_hidden")
    for name in ("trajectory_scale", "hog_bias"):
      if getattr(self, name) < 0:
        raise ValueError(
          f"method.{name} must not be negative, got {getattr(self, name)}"
        )


class Mme(method.Method):
  """The method; see the module."""

  Options = Options
  inputs = ("video", "luma")
  reads = ("masking",)
  shown = ("loss_shape", "loss_position", "position_explained")

  def __init__(self, settings, length=None):
    super().__init__(settings, length)
    data, model = settings.data, settings.model
    # As fine as the flow's finest level: nothing finer is looked at.
    self._shrink = flow.factors(data.size, data.size)[-1]
    self._cell = model.patch // _CELLS
    if model.patch % (_CELLS * self._shrink):
      raise errors.UserError(
        f"model.patch {model.patch} does not divide into cells of 2 x 2 whose "
        f"sides are whole pixels of clips of {data.size // self._shrink}, "
        "which motion is found on: make it a multiple of "
        f"{_CELLS * self._shrink}"
      )

  @property
  def luma(self):
    return settings_lib.Luma(
      every=self.settings.model.tubelet,
      frames=self.options.steps + 1,
      size=self.settings.data.size // self._shrink,
    )

  def module(self, rngs):
    values = _CELLS**2
    made = described.Networks(
      self.settings.model,
      self.settings.grid,
      hidden=self.options.head_hidden,
      sizes=(3 * hog.BINS * values, 2 * self.options.steps * values),
      rngs=rngs,
    )
    return guided.with_flow(made, self.settings)

  def load(self):
    return guided.load_flow(self.settings)

  def prepare(self, batch, key, frozen):
    run, video = self.settings, batch["video"]
    mask = guided.masks(run, video, key, frozen)
    tracks = self.tracks(batch["luma"])
    counted = trajectories.counted(tracks.valid, _CELLS).astype(jnp.float32)
    target = described.Described(
      self.shapes(video, key), self.positions(tracks)
    )
    target = described.Described(
      *(vit.gather_tokens(x, mask.masked) for x in target)
    )
    counted = jnp.take_along_axis(counted, mask.masked, axis=1)
    tubes = vit.split_tubes(video, run.model.tubelet, run.model.patch)
    return tubes, mask, jax.lax.stop_gradient(target), counted

  def tracks(self, luma: jax.Array, camera: bool = True):
    """Of every cell of the first frame of every tube, `trajectories.Tracks`.

    Args:
      luma: see `luma`.
      camera: whether its motion is taken off, where the options say so.
    """
    return trajectories.of_luma(
      luma,
      tuple(_CELLS * side for side in self.settings.grid[1:]),
      shrink=self._shrink,
      camera=camera and self.options.camera == "affine",
      whole=self.options.tracking == "whole",
    )

  def positions(self, tracks: trajectories.Tracks) -> jax.Array:
    """What is predicted of tracks of every tube: float32 [b, n, q]."""
    options = self.options
    return trajectories.labels(
      tracks.steps, options.trajectory_norm, options.epsilon, _CELLS
    )

  def shapes(self, video: jax.Array, key: jax.Array) -> jax.Array:
    """Histograms of the last frame of every tube: float32 [b, n, p]."""
    bias, most = None, self.options.hog_bias
    if most:
      of_bias = keys.of(key, keys.Use.GRADIENT_BIAS)
      bias = jax.random.uniform(of_bias, (2,), minval=-most, maxval=most)
    tubelet = self.settings.model.tubelet
    found = hog.histograms(
      video[:, tubelet - 1 :: tubelet], self._cell, bias=bias
    )
    found = hog.normalized(found, self.options.hog_norm)
    return hog.tokens(found[:, :, None], _CELLS)

  def features(self, weights, inputs):
    tubes, mask, target, counted = inputs
    predicted = self.networks(weights.params, weights.frozen)(tubes, mask)
    return {"predicted": predicted, "target": target, "counted": counted}

  def loss(self, heads, features, carry, step, where):
    predicted, target = features["predicted"], features["target"]
    parts = described_loss.judge(predicted, target, features["counted"])
    loss = 0.5 * (parts.shape + self.options.trajectory_scale * parts.position)
    # Beside a guess that knows no clip: the mean of all tubes.
    middle = described.Described(
      *(jnp.mean(x, axis=(0, 1), keepdims=True) for x in target)
    )
    guessed = described_loss.judge(middle, target, features["counted"])
    moving = jnp.any(jnp.abs(target.position) > 1e-6, axis=-1)
    metrics = {
      "loss": loss,
      "loss_shape": parts.shape,
      "loss_position": parts.position,
      "shape_explained": 1 - parts.shape / jnp.maximum(guessed.shape, 1e-12),
      "position_explained": 1
      - parts.position / jnp.maximum(guessed.position, 1e-12),
      "moving": jnp.mean(moving.astype(jnp.float32)),
    }
    return method.Judged(loss, carry, metrics)

  def signs(self, step, first, now):
    if now.get("moving", 1.0) >= _STILL:
      return {}
    return {
      "still": (
        f"only {now['moving']:.1%} of the hidden tubes move in themselves: "
        "there is nothing to learn of trajectories in still images, or in "
        "clips that the camera alone moves"
      )
    }

  def describe(self):
    run, options = self.settings, self.options
    model, chart = run.model, method.Chart
    camera = "without the camera's motion" if options.camera != "none" else ""
    words = f"{options.steps} frames of the video {camera}".strip()
    return method.Description(
      "MME, shape and motion",
      tubes=f"{run.masking.ratio:.0%} masked ({guided.kind(run.masking)})",
      facts=(
        ("Decoder", f"{model.decoder_depth} blocks, width {model.decoder_dim}"),
        ("Trajectories", words),
      ),
      charts=(
        chart("Loss", "sum of squares", {"loss": ""}, floor=None),
        chart(
          "Both parts",
          "sum of squares",
          {"loss_shape": "shape", "loss_position": "position"},
        ),
        chart(
          "Explained",
          "% of the variance over tubes",
          {"shape_explained": "shape", "position_explained": "position"},
          100,
          floor=None,
        ),
      ),
    )

  def hidden(self, key, video):
    return guided.hidden(self.settings, key, video)

  def traces(self, batch):
    steps, patch = self.options.steps, self.settings.model.patch
    words = f"where each cell goes in the next {steps} frames of the video"
    shown = {words: False}
    if self.options.camera == "affine":
      shown["the same without the camera’s motion"] = True
    found = {}
    for words, camera in shown.items():
      tracks = self.tracks(jnp.asarray(batch["luma"]), camera)
      start = tracks.at[:, :, :1]
      points = [start, start + jnp.cumsum(tracks.steps, axis=2)]
      points = np.array(jnp.concatenate(points, axis=2)) + 0.5
      points[~np.asarray(tracks.valid)[:, :, None].repeat(steps + 1, 2)] = (
        np.nan
      )
      found[words] = np.moveaxis(points, 2, 4) / patch
    return found
