"""A config's real pre-training step, compiled for devices that are not there.

Used by the `compile` and `scaling` benchmarks. `topology.prepare` comes first.
"""

import time
from typing import Any, NamedTuple

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.bench import flops
from sigma_jax.bench.pod import collectives, hlo, topology, traffic
from sigma_jax.settings import config_file


class Report(NamedTuple):
  """What the compiler says of a step.

  topology: its name. chips: devices. batch: clips over all of them.
  mesh: devices by axis. memory: bytes of one chip by what they are for:
  arguments, outputs, temporaries, code, aliased (outputs that reuse
  arguments) and total. flops: of the matrix products on all chips, counted
  here. flops_xla: of one chip, by XLA, each loop's body once. hbm: bytes to
  and from one chip's main memory. collectives: what travels. plan: how the
  loss is computed, "-" for L2. seconds: of compiling.
  """

  topology: str
  chips: int
  batch: int
  mesh: dict[str, int]
  memory: dict[str, int]
  flops: float
  flops_xla: float
  hbm: float
  collectives: list[tuple[str, collectives.Collective]]
  plan: str
  seconds: float

  def bytes_for(self, *purposes: str) -> int:
    """Bytes of one chip's collectives with these purposes, a step."""
    return sum(
      each.nbytes for what, each in self.collectives if what in purposes
    )

  @property
  def sent(self) -> float:
    """Bytes that leave a chip in a step."""
    return sum(each.sent for _, each in self.collectives)


def load(config: str) -> settings_lib.Settings:
  """Settings of `configs/k400_vitb.py` or `configs/k400_vitb.py:dino`.

  Raises:
    UserError: no such file, or one that does not pre-train.
  """
  settings = config_file.load(config)
  if settings.task != "pretrain":
    raise errors.UserError(
      f"{config} is of task {settings.task!r}; only pre-training steps are "
      "compiled, for example --config=configs/k400_vitb.py"
    )
  return settings


def scaled_batch(batch: int, chips: int) -> int:
  """The smallest multiple of `chips` that is no smaller than `batch`."""
  return -(-batch // chips) * chips


def step(settings: settings_lib.Settings, name: str) -> Report:
  """Compiles the step for a topology.

  Args:
    settings: of the run; its batch is that of all chips together.
    name: of the topology, "v5e:16x16".

  Raises:
    UserError: settings that do not fit the topology, or a step that does not
      fit its chips' memory.
  """
  from sigma_jax.methods import method
  from sigma_jax.train import mesh as mesh_lib
  from sigma_jax.train import steps

  mesh = mesh_lib.make(settings.mesh, topology.devices(name))
  batch = settings.train.batch_size
  mesh_lib.host_batch(batch, mesh, settings.train.accumulate)
  function, arguments = _step(settings, mesh)
  start = time.perf_counter()
  traced = function.trace(*arguments)
  compiled = _compile(traced, name)
  seconds = time.perf_counter() - start
  module = hlo.parse(compiled.as_text())
  sizes = _sizes(arguments[0].params, mesh.shape["fsdp"])
  plan = method.of(settings).plan(steps.where(mesh))
  return Report(
    topology=name,
    chips=mesh.size,
    batch=batch,
    mesh=dict(mesh.shape),
    memory=_memory(compiled.memory_analysis()),
    flops=flops.jaxpr_flops(traced.jaxpr.jaxpr),
    flops_xla=float(compiled.cost_analysis()["flops"]),
    hbm=traffic.hbm_bytes(module),
    collectives=[
      (collectives.purpose(each, sizes), each)
      for each in collectives.find(module)
    ],
    plan=plan or "-",
    seconds=seconds,
  )


def _step(settings: settings_lib.Settings, mesh) -> tuple[Any, tuple]:
  """The jitted step and its arguments, shapes with shardings alone."""
  import jax
  import jax.numpy as jnp

  from sigma_jax.methods import method
  from sigma_jax.train import mesh as mesh_lib
  from sigma_jax.train import optimizer, state, steps

  # The schedule's length is a constant of the program that changes no shape.
  tx, schedule = optimizer.make(
    settings.optimizer,
    batch_size=settings.train.batch_size,
    total_steps=100_000,
    steps_per_epoch=1000.0,
  )

  def placed(leaf, sharding):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  train_state = state.abstract(settings, tx, mesh)
  made = method.of(settings)
  frozen = jax.tree.map(
    lambda leaf: placed(leaf, mesh_lib.replicated(mesh)), made.abstract.frozen
  )
  data = settings.data
  side = (data.size, data.size, 3)
  shape = (settings.train.batch_size, data.num_frames, *side)
  batch = jax.tree.map(
    lambda leaf: placed(leaf, mesh_lib.batch_sharding(mesh)),
    jax.eval_shape(made.batch, jax.ShapeDtypeStruct(shape, jnp.uint8)),
  )
  step = steps.pretrain_step(settings, tx, schedule, mesh)
  function = steps.jit(step, mesh, train_state)
  return function, (train_state, frozen, batch)


def _sizes(params: dict, fsdp: int) -> frozenset[int]:
  """Elements that a parameter can travel with: all, a layer, a shard."""
  import jax

  found = set()
  for leaf in jax.tree.leaves(params):
    for size in (leaf.size, leaf.size // leaf.shape[0]):
      found |= {size, size // fsdp}
  return frozenset(found)


def _memory(stats) -> dict[str, int]:
  """Bytes of one device; see `Report`."""
  found = {
    "arguments": stats.argument_size_in_bytes,
    "outputs": stats.output_size_in_bytes,
    "temporaries": stats.temp_size_in_bytes,
    "code": stats.generated_code_size_in_bytes,
    "aliased": stats.alias_size_in_bytes,
  }
  return {**found, "total": sum(found.values()) - 2 * found["aliased"]}


def _compile(traced, name: str):
  """A step that does not fit is the user's to change; all else is a defect."""
  import jax

  try:
    return traced.lower().compile()
  except jax.errors.JaxRuntimeError as error:
    lines = str(error).splitlines()
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    needed = next((line for line in lines if "Used" in line), lines[0])
    raise errors.UserError(
      f"the step does not fit the memory of {name}'s chips; try --remat=full, "
      f"a larger --fsdp or a smaller --batch ({needed.strip()})"
    ) from error
