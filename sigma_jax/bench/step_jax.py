"""Contender: sigma_jax's training step as the loop runs it; see `contest`."""

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.bench import output
from sigma_jax.methods import method
from sigma_jax.settings import config_file
from sigma_jax.train import layout, optimizer, state, steps
from sigma_jax.train import mesh as mesh_lib


class _Case:
  def __init__(self, options: dict):
    settings = read_settings(options)
    # One device on either side; `compile` and `scaling` look at many.
    mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
    tx, schedule = optimizer.make(
      settings.optimizer,
      batch_size=settings.train.batch_size,
      total_steps=1000,
      steps_per_epoch=100.0,
    )
    self._state = layout.fit(state.create(settings, tx, mesh), mesh)
    self._frozen = jax.device_put(_teacher(settings), mesh_lib.replicated(mesh))
    self._batch = mesh_lib.put_batch({"video": video(settings)}, mesh)
    step = steps.pretrain_step(settings, tx, schedule, mesh)
    step = steps.jit(step, mesh, self._state)
    self._step = step.lower(self._state, self._frozen, self._batch).compile()
    self._start = _memory("bytes_in_use")

  def run(self) -> None:
    self._state, self._metrics = self._step(
      self._state, self._frozen, self._batch
    )
    jax.block_until_ready(self._metrics)

  def results(self) -> dict[str, np.ndarray]:
    return {"loss": np.asarray(self._metrics["loss"])}

  def peak_bytes(self) -> int | None:
    peak = _memory("peak_bytes_in_use")
    return None if peak is None else peak - self._start

  def facts(self) -> dict:
    leaves = jax.tree.leaves(self._state.params)
    return {
      "device": jax.devices()[0].device_kind,
      "parameters": sum(leaf.size for leaf in leaves),
      **output.versions("jax", "jaxlib", "flax"),
    }


def _memory(name: str) -> int | None:
  stats = jax.devices()[0].memory_stats()
  return stats[name] if stats else None


def read_settings(options: dict) -> settings_lib.Settings:
  """Settings of a config file with the benchmark's changes.

  Args:
    options: "config" (path, perhaps `:variant`), and "changes", a dict from
      dotted keys to values.
  """
  found = config_file.load(options["config"])
  return config_file.changed(found, options["changes"])


def video(settings: settings_lib.Settings) -> np.ndarray:
  """Noise: uint8 [b, t, h, w, 3]."""
  data = settings.data
  shape = (settings.train.batch_size, data.num_frames, data.size, data.size, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _teacher(settings: settings_lib.Settings) -> dict:
  """Small random weights for the target's frozen network, if it has one."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jnp.asarray(
      0.02 * rng.standard_normal(leaf.shape, np.float32), leaf.dtype
    ),
    method.of(settings).abstract.frozen,
  )


prepare = _Case
