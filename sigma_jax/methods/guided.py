"""The masks of the section masking, for the methods that read it.

Those that follow motion need a flow. It is found from the pixels alone, or by a
network whose frozen weights belong to the method's then.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import keys, masking
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method
from sigma_jax.models import modules, raft
from sigma_jax.motion import volume


def with_flow(module: nnx.Module, settings: settings_lib.Settings):
  """The networks, and the one that finds motion as their `flow` if there is.

  Trained it is not: it stands there so that its weights are among the frozen
  ones.
  """
  if settings.masking.has_network:
    module.flow = raft.RaftSmall(dtype=jnp.dtype(settings.masking.flow_dtype))
  return module


def load_flow(settings: settings_lib.Settings) -> method.Tree:
  """That network's weights, {"flow": ...}, or {}; see `flow_network.load`."""
  from sigma_jax.interop import flow_network

  return flow_network.load(settings)


def masks(
  settings: settings_lib.Settings,
  video: jax.Array,
  key: jax.Array,
  frozen: method.Tree | None = None,
) -> masking.Mask:
  """The masks of a step with this key, for the clips of its global batch."""
  return draw(settings, video, keys.of(key, keys.Use.MASK), frozen)


def draw(
  settings: settings_lib.Settings,
  video: jax.Array,
  key: jax.Array,
  frozen: method.Tree | None = None,
) -> masking.Mask:
  """Masks of the settings' kind, drawn with `key` itself.

  Args:
    settings: the run.
    video: uint8 [b, t, h, w, 3], which motion-guided masks look at.
    key: of the masks; a clip's is taken by its place in the batch.
    frozen: weights, where a network finds motion: as of `load_flow`.
  """
  options = settings.masking
  if options.kind == "motion":
    return volume.sample(key, video, **by(settings, frozen))
  return masking.sample(
    key,
    len(video),
    kind=options.kind,
    grid=settings.grid,
    ratio=options.ratio,
  )


def hidden(
  settings: settings_lib.Settings, key: jax.Array, video: np.ndarray
) -> np.ndarray:
  """`method.Method.hidden` of such masks.

  Raises:
    UserError: weights of a network that finds motion are not there any more.
  """
  mask = draw(settings, video, key, load_flow(settings))
  dense = np.asarray(masking.to_bool(mask))
  return dense.reshape(len(video), *settings.grid)


def by(settings: settings_lib.Settings, frozen: method.Tree | None) -> dict:
  """Options of motion-guided masks."""
  options = settings.masking
  found = {
    "grid": settings.grid,
    "ratio": options.ratio,
    "published": options.direction == "published",
  }
  if options.has_network:
    graph = _network(options.flow_dtype)
    found["estimate"] = functools.partial(
      modules.merge(graph, {}, frozen["flow"]).of_pairs,
      iterations=options.flow_iterations,
    )
  return found


@functools.cache
def _network(dtype: str) -> nnx.GraphDef:
  made = modules.abstract(lambda _: raft.RaftSmall(dtype=jnp.dtype(dtype)))
  return made.graph


def kind(options: settings_lib.Masking) -> str:
  """How tubes are masked, in words."""
  words = options.kind
  if options.has_network:
    words += f" by RAFT-small, {options.flow_iterations} iterations"
  if options.kind == "motion" and options.direction == "published":
    words += ", early frames the published wrong way"
  return words
