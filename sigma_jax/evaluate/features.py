"""Mean-pooled features of a frozen encoder, each clip exactly once."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma
from sigma_jax.train import mesh as mesh_lib


class FeatureSet(NamedTuple):
  """features: float32 [n, d]. rows: int32 [n], where in the manifest."""

  features: np.ndarray
  rows: np.ndarray


def extract(
  settings: settings_lib.Settings,
  params: dict,
  batches: Iterable[dict[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
  layer: int = 0,
) -> FeatureSet:
  """Runs the encoder over all tubes and averages its tokens.

  The encoder's own last LayerNorm is left out, as in the published linear
  probe; the probe standardises instead.

  Args:
    settings: of the run that the encoder is from.
    params: its parameters.
    batches: {"video": uint8 [b, t, h, w, 3], "index": int32 [b],
      "valid": bool [b]}; rows that are not valid are dropped.
    mesh: devices; their number divides b.
    layer: blocks to run before pooling; 0 runs all.
  """
  graph, _, frozen = sigma.abstract(settings)

  @jax.jit
  def pool(params, video):
    model = sigma.merge(graph, params, frozen)
    tokens = model.encode(video, num_blocks=layer or None, final_norm=False)
    return jnp.mean(tokens, axis=1)

  params = jax.device_put(params, mesh_lib.replicated(mesh))
  features, rows = [], []
  for batch in batches:
    video = mesh_lib.put_batch({"video": batch["video"]}, mesh)["video"]
    valid = batch["valid"]
    features.append(np.asarray(pool(params, video))[valid])
    rows.append(batch["index"][valid])
  return FeatureSet(np.concatenate(features), np.concatenate(rows))


def standardize(
  train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Both sets, float32 [n, d], with the training set's mean and deviation."""
  mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
  return (train - mean) / std, (test - mean) / std
