"""Contender: sigma_jax's training step as the loop runs it; see `contest`."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.bench import output
from sigma_jax.methods import method
from sigma_jax.settings import config_file
from sigma_jax.train import (
  layout,
  loop,
  optimizer,
  state,
  steps,
  supervised,
)
from sigma_jax.train import mesh as mesh_lib

CLASSES = 400  # of steps with labels: Kinetics'


class Training:
  """A training on one device, as the loop makes it.

  Attributes:
    compile_seconds: of the step.
  """

  def __init__(self, settings: settings_lib.Settings, total_steps: int = 1000):
    """The first state, on the device; see `step`."""
    # One device on either side; `compile` and `scaling` look at many.
    self._mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
    self._job, frozen = job_of(settings)
    tx, schedule = optimizer.make(
      settings.optimizer,
      batch_size=settings.train.batch_size,
      total_steps=total_steps,
      steps_per_epoch=max(total_steps / 10, 1.0),
      **self._job.optimizer,
    )
    made = state.create(settings, tx, self._mesh, None, self._job.fresh)
    self._state = layout.fit(made, self._mesh)
    self._frozen = jax.device_put(frozen, mesh_lib.replicated(self._mesh))
    self._make = lambda: steps.jit(
      self._job.make_step(settings, tx, schedule, self._mesh),
      self._mesh,
      self._state,
    )
    self._step, self.compile_seconds = None, 0.0

  @property
  def params(self) -> dict:
    """Parameters as they are now, blocks stacked."""
    return layout.stack(self._state).params

  def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch on the device."""
    return mesh_lib.put_batch(batch, self._mesh)

  def step(self, batch: dict) -> dict[str, jax.Array]:
    """One step, to its end; its metrics. The first one compiles."""
    placed = self.put(batch)
    if self._step is None:
      start = time.perf_counter()
      lowered = self._make().lower(self._state, self._frozen, placed)
      self._step = lowered.compile()
      self.compile_seconds = time.perf_counter() - start
    self._state, metrics = self._step(self._state, self._frozen, placed)
    return jax.block_until_ready(metrics)


class _Case:
  def __init__(self, options: dict):
    settings = read_settings(options)
    self._training = Training(settings)
    self._batch = self._training.put(batch(settings))
    self._metrics = self._training.step(self._batch)
    self._start = _memory("bytes_in_use")

  def run(self) -> None:
    self._metrics = self._training.step(self._batch)

  def results(self) -> dict[str, np.ndarray]:
    return {"loss": np.asarray(self._metrics["loss"])}

  def peak_bytes(self) -> int | None:
    peak = _memory("peak_bytes_in_use")
    return None if peak is None else peak - self._start

  def facts(self) -> dict:
    leaves = jax.tree.leaves(self._training.params)
    return {
      "device": jax.devices()[0].device_kind,
      "parameters": sum(leaf.size for leaf in leaves),
      "compile_s": self._training.compile_seconds,
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


def batch(
  settings: settings_lib.Settings, clips: np.ndarray | None = None
) -> dict[str, np.ndarray]:
  """What a step reads of clips, noise by default; classes beside them."""
  clips = video(settings) if clips is None else clips
  if settings.task == "pretrain":
    return jax.device_get(method.of(settings).batch(clips))
  return {
    "video": clips,
    "target": np.arange(len(clips), dtype=np.int32) % CLASSES,
  }


def job_of(settings: settings_lib.Settings) -> tuple[loop.Job, dict]:
  """What trains, and weights of what does not, small and random."""
  if settings.task == "pretrain":
    made = method.of(settings, method.Length(1000, 100.0))
    return loop.job_of(made), _teacher(settings)
  task = supervised.Task(settings, CLASSES)
  made = jax.jit(lambda: supervised_params(task)[1])()
  return supervised.job(task), made


def supervised_params(task: supervised.Task) -> tuple[dict, dict]:
  """Random parameters that are trained, and those that are not; jit-able."""
  key, frozen = jax.random.key(0), {}
  if task.frozen_encoder:
    frozen = {"encoder": task.fresh(key)["encoder"]}
  return task.init_params(key), frozen


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
