"""Encoders that give a map of features for every time slot of a clip."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.inference import encoder as encoder_lib
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import store, teacher
from sigma_jax.methods import method
from sigma_jax.models import image_vit, variants, vit
from sigma_jax.train import checksums, stored
from sigma_jax.train import workdir as workdir_lib

PRETRAINED, RANDOM = "pretrained", "random"


class Encoder(NamedTuple):
  """One encoder with its weights.

  maps: function of one clip, uint8 [t, h, w, 3], to float32 [s, rows, columns,
  d]: the last layer's normalised tokens, one map a tubelet (video models) or a
  frame (image models), so that s divides t. sums: of its weights. step: of the
  workdir's checkpoint that they are from.
  """

  maps: Callable[[np.ndarray], jax.Array]
  sums: dict[str, int]
  step: int | None = None


def load(config: settings_lib.Settings) -> dict[str, Encoder]:
  """The encoder that `init` names, and an untrained one of its kind.

  Without `init` there is only the untrained one, of `model` or of
  `segmentation.teacher`.

  Raises:
    UserError: `init` cannot be read, or the clips of `data` do not divide into
      its patches and tubelets.
  """
  make = _image_models if config.segmentation.teacher else _video_models
  encoders = make(config)
  if config.init and not config.segmentation.random_baseline:
    del encoders[RANDOM]
  return encoders


def step_of(init: str) -> int | None:
  """The step of the checkpoint that `init` is judged at; None for files."""
  folder = workdir_lib.checkpoints(init)
  if not init or not folder.is_dir():
    return None
  return max(stored.steps(folder), default=None)


def _video_models(config: settings_lib.Settings) -> dict[str, Encoder]:
  models, settings = {}, config
  if config.init:
    try:
      models[PRETRAINED] = store.read(config.init)
    except errors.UserError as error:
      raise errors.UserError(
        f"init: {error} (an image model's weights need segmentation.teacher)"
      ) from error
    table = config.model.table_grid
    models[PRETRAINED] = store.with_table(models[PRETRAINED], table)
    settings = models[PRETRAINED].settings
  _check_divides(config.data, settings.model.tubelet, settings.model.patch)
  draw = jax.jit(lambda key: method.of(settings).init(key)["encoder"])
  params = {"encoder": draw(jax.random.key(settings.seed))}
  layout = layout_lib.Layout(settings.model)
  models[RANDOM] = store.Model(layout, params, settings)
  return {name: _video_encoder(model) for name, model in models.items()}


def _video_encoder(model: store.Model) -> Encoder:
  encoder = encoder_lib.VideoEncoder(model)
  sides = model.settings.model

  def maps(video: np.ndarray) -> jax.Array:
    time, height, width, _ = video.shape
    grid = (time // sides.tubelet, height // sides.patch, width // sides.patch)
    return encoder.encode(video[None]).tokens.reshape(*grid, -1)

  return Encoder(maps, checksums.of(model.params), model.step)


def _image_models(config: settings_lib.Settings) -> dict[str, Encoder]:
  variant = config.segmentation.teacher
  model = variants.IMAGE_MODELS[variant]
  _check_divides(config.data, 1, model.patch)
  weights = {}
  if config.init:
    target = dataclasses.replace(
      config.target, kind="dino", variant=variant, weights=config.init
    )
    try:
      found = teacher.load(dataclasses.replace(config, target=target))
    except errors.UserError as error:
      raise errors.UserError(
        f"init, read as segmentation.teacher {variant!r}: {error}"
      ) from error
    weights[PRETRAINED] = found["target"]["teacher"]
  key, dtype = jax.random.key(config.seed), jnp.dtype(config.target.dtype)
  weights[RANDOM] = untrained(model, key, dtype)
  return {name: _image_encoder(model, w) for name, w in weights.items()}


def _image_encoder(model: variants.ImageModel, weights: dict) -> Encoder:
  weights = jax.tree.map(jnp.asarray, weights)

  @jax.jit
  def encode(weights, video):
    graph = nnx.split(_abstract(model, jnp.float32))[0]
    return nnx.merge(graph, weights)(vit.normalize_pixels(video))

  def maps(video: np.ndarray) -> jax.Array:
    grid = (side // model.patch for side in video.shape[1:3])
    return encode(weights, video).reshape(len(video), *grid, -1)

  return Encoder(maps, checksums.of(weights))


def untrained(
  model: variants.ImageModel, key: jax.Array, dtype: np.dtype
) -> dict:
  """Random weights of an image ViT, as `teacher.convert` places real ones.

  Linear maps are Xavier-uniform, tokens and positions normal of deviation .02,
  biases 0, norms and LayerScale 1. (The releases start LayerScale near 0,
  which would leave little but the patch embedding.)
  """
  shapes = nnx.to_pure_dict(nnx.split(_abstract(model, dtype))[1])
  leaves, tree = jax.tree.flatten_with_path(shapes)
  keys = jax.random.split(key, len(leaves))

  def draw(key, path, leaf):
    name = path[-1].key
    if name == "kernel":
      init = jax.nn.initializers.xavier_uniform()
    elif name == "bias":
      init = jax.nn.initializers.zeros
    elif name in ("scale", "ls1", "ls2"):
      init = jax.nn.initializers.ones
    else:
      init = jax.nn.initializers.normal(0.02)
    return init(key, leaf.shape, leaf.dtype)

  drawn = [draw(key, *found) for key, found in zip(keys, leaves, strict=True)]
  return jax.tree.unflatten(tree, drawn)


def _abstract(model: variants.ImageModel, dtype: np.dtype):
  return nnx.eval_shape(lambda: image_vit.ImageViT(model, dtype=dtype))


def _check_divides(data: settings_lib.Data, tubelet: int, patch: int) -> None:
  for name, value, part in (
    ("num_frames", data.num_frames, tubelet),
    ("size", data.size, patch),
  ):
    if value % part:
      raise errors.UserError(
        f"data.{name} is {value}; this encoder needs a multiple of {part}"
      )
