"""Mean-pooled features of a frozen encoder, each clip exactly once."""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import settings as settings_lib
from sigma_jax.models import attention, vit
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import steps


class FeatureSet(NamedTuple):
  """features: float32 [n, d]. rows: int32 [n], where in the source."""

  features: np.ndarray
  rows: np.ndarray


def extract(
  settings: settings_lib.Settings,
  encoders: dict[str, dict],
  batches: Iterable[dict[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
  layer: int = 0,
) -> dict[str, FeatureSet]:
  """Runs encoders over all tubes and averages their tokens.

  The encoder's own last LayerNorm is left out, as in the published linear
  probe, unless the model's tokens are used after it (`model.pool_normed`); the
  probe standardises instead.

  Args:
    settings: of the run that the encoders are of.
    encoders: name -> parameters of the encoder; all see each clip, decoded
      once.
    batches: this process's {"video": uint8 [b, t, h, w, 3], "index": int32
      [b], "valid": bool [b]}, in any order; rows that are not valid are
      dropped.
    mesh: devices; their number divides the global batch.
    layer: blocks to run before pooling; 0 runs all.

  Returns:
    Each encoder's features of all processes' clips, in the source's order: the
    same on every process, whatever their number.
  """
  pool = pooler(settings, mesh, layer)
  encoders = {
    name: pooled_parts(settings, params) for name, params in encoders.items()
  }
  encoders = jax.device_put(encoders, mesh_lib.replicated(mesh))
  features: dict[str, list] = {name: [] for name in encoders}
  rows = []
  for batch in batches:
    names = ("video", "index", "valid")
    placed = mesh_lib.put_batch({name: batch[name] for name in names}, mesh)
    for name, params in encoders.items():
      found, index, valid = map(np.asarray, pool(params, placed))
      features[name].append(found[valid])
    rows.append(index[valid])
  row = np.concatenate(rows)
  order = np.argsort(row, kind="stable")
  return {
    name: FeatureSet(np.concatenate(found)[order], row[order])
    for name, found in features.items()
  }


def pooled_parts(
  settings: settings_lib.Settings, params: dict[str, Any]
) -> dict[str, Any]:
  """An encoder's parameters without those that `pooler` leaves out."""
  if settings.model.pool_normed:
    return params
  return {part: value for part, value in params.items() if part != "norm"}


@functools.lru_cache(maxsize=4)  # compiled once for all parts of a data set
def pooler(settings: settings_lib.Settings, mesh, layer: int):
  """What pools the clips of a batch, jitted.

  Args:
    settings: of the encoder.
    mesh: that the batch is split over.
    layer: blocks to run; 0: all.

  Returns:
    pool(params, batch): of an encoder's parameters and a batch of "video",
    "index" and "valid", mean tokens, float32 [b, d], and the latter two.
  """

  def make():
    return vit.Encoder(
      settings.model,
      settings.grid,
      final_norm=settings.model.pool_normed,
      rngs=nnx.Rngs(0),
    )

  graph = nnx.split(nnx.eval_shape(make))[0]

  @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(mesh))
  def pool(params, batch):
    model = settings.model
    tubes = vit.split_tubes(batch["video"], model.tubelet, model.patch)
    with attention.on_platform(*steps.where(mesh), kind=model.attention):
      tokens = nnx.merge(graph, params)(tubes, num_blocks=layer or None)
    # Which clips they are comes back with them: processes do not know in what
    # order the mesh has their rows.
    return jnp.mean(tokens, axis=1), batch["index"], batch["valid"]

  return pool


def standardize(
  train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Both sets, float32 [n, d], with the training set's mean and deviation."""
  mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
  return (train - mean) / std, (test - mean) / std
