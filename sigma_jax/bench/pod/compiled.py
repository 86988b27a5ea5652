"""A config's real program, compiled for devices that are not there.

Used by the `compile` and `scaling` benchmarks; which program it is, `programs`
says. `topology.prepare` comes first.
"""

import time
from typing import NamedTuple

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.bench import flops
from sigma_jax.bench.pod import collectives, hlo, topology, traffic
from sigma_jax.settings import config_file

# Tasks, and which option says how many clips go to the devices at once.
_BATCH = {
  "pretrain": "train.batch_size",
  "supervised": "train.batch_size",
  "probe": "probe.batch_size",
}


class Report(NamedTuple):
  """What the compiler says of a step.

  topology: its name. chips: devices. batch: clips over all of them.
  mesh: devices by axis. memory: bytes of one chip by what they are for:
  arguments, outputs, temporaries, code, aliased (outputs that reuse
  arguments) and total. flops: of the matrix products on all chips, counted
  here. flops_xla: of one chip, by XLA, each loop's body once. hbm: bytes to
  and from one chip's main memory, by `parts`. collectives: what is sent. plan:
  how the loss is computed, "-" for L2. seconds: of compiling. once: loops that
  turn as often as data say, of which one turn is in `hbm`.
  """

  topology: str
  chips: int
  batch: int
  mesh: dict[str, int]
  memory: dict[str, int]
  flops: float
  flops_xla: float
  hbm: dict[str, float]
  collectives: list[tuple[str, collectives.Collective]]
  plan: str
  seconds: float
  once: int

  def bytes_for(self, *purposes: str) -> int:
    """Bytes of one chip's collectives with these purposes, a step."""
    return sum(
      each.nbytes for what, each in self.collectives if what in purposes
    )

  @property
  def moved(self) -> float:
    """Bytes to and from one chip's main memory in a step."""
    return sum(self.hbm.values())

  @property
  def sent(self) -> float:
    """Bytes that leave a chip in a step."""
    return sum(each.sent for _, each in self.collectives)


def load(config: str) -> settings_lib.Settings:
  """Settings of `configs/k400_vitb.py` or `configs/k400_vitb.py:dino`.

  Raises:
    UserError: no such file, or one of a task that is not compiled.
  """
  settings = config_file.load(config)
  if settings.task not in _BATCH:
    raise errors.UserError(
      f"{config} is of task {settings.task!r}; compiled are those of "
      f"{', '.join(_BATCH)}, for example --config=configs/k400_vitb.py"
    )
  return settings


def batch_key(settings: settings_lib.Settings, testing: bool) -> str:
  """The option that says how many clips the program takes at once.

  Raises:
    UserError: there is no test pass of this task alone.
  """
  if testing and settings.task != "supervised":
    raise errors.UserError(
      f"--testing is for trainings with labels, not for {settings.task!r}"
    )
  return "supervised.test_batch_size" if testing else _BATCH[settings.task]


def batch_of(settings: settings_lib.Settings, testing: bool) -> int:
  """Clips over all chips."""
  group, name = batch_key(settings, testing).split(".")
  return getattr(getattr(settings, group), name)


def scaled_batch(batch: int, chips: int) -> int:
  """The smallest multiple of `chips` that is no smaller than `batch`."""
  return -(-batch // chips) * chips


def step(
  settings: settings_lib.Settings, name: str, testing: bool = False
) -> Report:
  """Compiles a run's program for a topology.

  Args:
    settings: of the run; its batch is that of all chips together.
    name: of the topology, "v5e:16x16".
    testing: see `programs.of`.

  Raises:
    UserError: settings that do not fit the topology, or a step that does not
      fit its chips' memory.
  """
  from sigma_jax.bench.pod import programs
  from sigma_jax.train import mesh as mesh_lib

  mesh = mesh_lib.make(settings.mesh, topology.devices(name))
  batch = batch_of(settings, testing)
  parts = 1 if testing else settings.train.accumulate
  mesh_lib.host_batch(batch, mesh, parts)
  program = programs.of(settings, mesh, testing)
  start = time.perf_counter()
  traced = program.function.trace(*program.arguments)
  compiled = _compile(traced, name)
  seconds = time.perf_counter() - start
  module, once = hlo.parse(compiled.as_text()), []
  sizes = _sizes(program.params, mesh.shape["fsdp"])
  return Report(
    topology=name,
    chips=mesh.size,
    batch=batch,
    mesh=dict(mesh.shape),
    memory=_memory(compiled.memory_analysis()),
    flops=flops.jaxpr_flops(traced.jaxpr.jaxpr),
    flops_xla=float(compiled.cost_analysis()["flops"]),
    hbm=traffic.hbm_bytes(module, once),
    once=len(once),
    collectives=[
      (collectives.purpose(each, sizes), each)
      for each in collectives.find(module, [])
    ],
    plan=program.plan,
    seconds=seconds,
  )


def _sizes(params: dict, fsdp: int) -> frozenset[int]:
  """Elements that a parameter is sent with: all, a layer, or a shard."""
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
