"""The compiled programs of a run, with shapes in place of arrays.

Of pre-training and of training with labels the step; of a frozen encoder's
evaluations the pass over clips; of a trained classifier's, its test pass.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sigma_jax import settings as settings_lib
from sigma_jax.bench import step_jax
from sigma_jax.evaluate import features
from sigma_jax.methods import method
from sigma_jax.train import ahead, loop, optimizer, state, steps, supervised
from sigma_jax.train import mesh as mesh_lib


class Program(NamedTuple):
  """function: jitted. arguments: ShapeDtypeStructs with shardings. params: of
  them, what can be sent between chips. plan: how the loss is computed, or "-".
  """

  function: Any
  arguments: tuple
  params: dict[str, Any]
  plan: str = "-"


def of(settings: settings_lib.Settings, mesh, testing: bool = False) -> Program:
  """The program that a run spends its time in.

  Args:
    settings: of a run of any task that encodes clips.
    mesh: of devices that need not be there.
    testing: of a training with labels, its test pass, at
      `supervised.test_batch_size` clips.
  """
  if settings.task == "pretrain":
    made = method.of(settings)
    plan = made.plan(steps.where(mesh))
    frozen = made.abstract.frozen
    return _training(settings, mesh, loop.job_of(made), frozen, plan)
  if settings.task == "supervised":
    task = supervised.Task(settings, step_jax.CLASSES)
    frozen = jax.eval_shape(task.fresh_frozen, jax.random.key(0))
    if testing:
      return _test(task, mesh, frozen)
    return _training(settings, mesh, supervised.job(task), frozen)
  return _pooling(settings, mesh)


def _training(settings, mesh, job: loop.Job, frozen, plan=None) -> Program:
  # The schedule's length is a constant of the program that changes no shape.
  tx, schedule = optimizer.make(
    settings.optimizer,
    batch_size=settings.train.batch_size,
    total_steps=100_000,
    steps_per_epoch=1000.0,
    **job.optimizer,
  )
  train_state = state.abstract(settings, tx, mesh, job.fresh)
  batch = ahead.batch(settings, mesh, job.batch, job.inputs)
  step = job.make_step(settings, tx, schedule, mesh)
  arguments = train_state, _replicated(frozen, mesh), batch
  function = steps.jit(step, mesh, train_state)
  return Program(function, arguments, train_state.params, plan or "-")


def _test(task: supervised.Task, mesh, frozen) -> Program:
  params = jax.eval_shape(task.init_params, jax.random.key(0))
  params = _placed(params, mesh_lib.state_sharding(mesh, params))
  batch_size = task.settings.supervised.test_batch_size
  return Program(
    supervised.forward(task, mesh),
    (
      (params, _replicated(frozen, mesh)),
      _clips(task.settings, mesh, batch_size),
    ),
    params,
  )


def _pooling(settings, mesh) -> Program:
  encoder = method.of(settings).abstract.params["encoder"]
  params = _replicated(features.pooled_parts(settings, encoder), mesh)
  batch_size = settings.probe.batch_size
  rows = jax.ShapeDtypeStruct(
    (batch_size,), jnp.int32, sharding=mesh_lib.batch_sharding(mesh)
  )
  batch = {
    "video": _clips(settings, mesh, batch_size),
    "index": rows,
    "valid": rows.update(dtype=jnp.bool_),
  }
  function = features.pooler(settings, mesh, settings.probe.layer)
  return Program(function, (params, batch), params)


def _clips(settings, mesh, count: int) -> jax.ShapeDtypeStruct:
  """A batch of clips."""
  data = settings.data
  return jax.ShapeDtypeStruct(
    (count, data.num_frames, data.size, data.size, 3),
    jnp.uint8,
    sharding=mesh_lib.batch_sharding(mesh),
  )


def _placed(tree, shardings):
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
    shardings,
  )


def _replicated(tree, mesh):
  where = mesh_lib.replicated(mesh)
  return _placed(tree, jax.tree.map(lambda _: where, tree))
