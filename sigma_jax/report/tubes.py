"""Which tubes belong to which prototype, over many clips."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, levels
from sigma_jax.models import sigma, vit

# Tubes whose scores against all prototypes are held at once, and tubes scored
# for one page: on two cores seconds, whatever the model.
_TUBES_AT_ONCE = 2**13
_TUBES_A_PAGE = 2**15


class Tubes(NamedTuple):
  """Assignments of all tubes of c clips.

  labels: int32 [c, n], hard Sinkhorn assignment, as training's.
  best: float32 [c, k], cosine of each clip's closest tube to each prototype.
  where: int32 [c, k], which tube that is.
  """

  labels: np.ndarray
  best: np.ndarray
  where: np.ndarray

  def usage(self) -> np.ndarray:
    """Share of all tubes assigned to each prototype, float [k]."""
    counts = np.bincount(self.labels.ravel(), minlength=self.best.shape[1])
    return counts / self.labels.size

  def closest(self, prototype: int, count: int) -> list[tuple[int, int, float]]:
    """(clip, tube, cosine) of the closest tubes, each of another clip."""
    order = np.argsort(-self.best[:, prototype], kind="stable")[:count]
    return [
      (int(c), int(self.where[c, prototype]), float(self.best[c, prototype]))
      for c in order
    ]


def num_clips(settings: settings_lib.Settings) -> int:
  """Clips to look at: 512 small ones, at least 16 large ones."""
  return int(np.clip(_TUBES_A_PAGE // np.prod(settings.grid), 16, 512))


def assign(
  settings: settings_lib.Settings, params: dict, videos: np.ndarray
) -> Tubes:
  """Runs the target network on every tube and solves its transport problem.

  The problem is solved over the tubes of up to some thousand tubes at once, as
  training does over a batch; here no tube is masked.

  Args:
    settings: of a run with prototypes and a target without frozen weights.
    params: its parameters.
    videos: uint8 [c, t, h, w, 3]; a few of the last clips may be left out, so
      that all parts are of equal size.
  """
  graph = sigma.abstract(settings).graph
  options, model = settings.loss, settings.model
  parts = -(-len(videos) * int(np.prod(settings.grid)) // _TUBES_AT_ONCE)
  size = max(len(videos) // parts, 1)

  @jax.jit
  def solve(params, video):
    tubes = vit.split_tubes(video, model.tubelet, model.patch)
    everything = jnp.arange(tubes.shape[1], dtype=jnp.int32)
    index = jnp.broadcast_to(everything, tubes.shape[:2])
    features = sigma.merge(graph, params).target(tubes, index)
    solved = assignment.solve(
      features,
      levels.vectors(params, options),
      options.epsilon,
      options.rounds,
    )
    where = jnp.argmax(solved.scores, axis=1).astype(jnp.int32)
    return solved.labels, jnp.max(solved.scores, axis=1), where

  found = [
    jax.device_get(solve(params, videos[i : i + size]))
    for i in range(0, len(videos) - size + 1, size)
  ]
  return Tubes(*(np.concatenate(column) for column in zip(*found, strict=True)))


def colours(prototypes: np.ndarray) -> list[str]:
  """One CSS colour a prototype; similar prototypes get similar ones.

  Hue is the rank of the angle in the plane of the first two principal
  components, lightness the rank along the third: ranks, so that all hues are
  used however the prototypes lie.

  Args:
    prototypes: float32 [k, p].
  """
  unit = prototypes / (np.linalg.norm(prototypes, axis=1, keepdims=True) + 1e-6)
  centred = unit - unit.mean(0)
  # Of the p x p covariance: an SVD of thousands of prototypes takes seconds.
  _, vectors = np.linalg.eigh(centred.T @ centred)
  axes = np.zeros((len(unit), 3), np.float32)
  kept = min(3, unit.shape[1])
  axes[:, :kept] = centred @ vectors[:, ::-1][:, :kept]
  hue = _ranks(np.arctan2(axes[:, 1], axes[:, 0])) * 360
  light = 38 + 34 * _ranks(axes[:, 2])
  return [f"hsl({h:.0f} 62% {p:.0f}%)" for h, p in zip(hue, light, strict=True)]


def _ranks(values: np.ndarray) -> np.ndarray:
  """Place of each value among all, float [k] in [0, 1)."""
  return np.argsort(np.argsort(values, kind="stable")) / len(values)
