"""Checkpoints that cannot be read, cannot be written, or are another's."""

import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method
from sigma_jax.models import modules
from sigma_jax.train import (
  checkpoint,
  checksums,
  metrics,
  storage_faults,
  stored,
)

# Orbax leaves coroutines behind where reading or writing fails.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning",
  "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
  monkeypatch.setattr(storage_faults, "_WAITS", (0.0, 0.0, 0.0))


@pytest.fixture
def state():
  """Arrays large enough for files of their own."""
  return {
    "params": {"kernel": jax.random.normal(jax.random.key(0), (64, 256))},
    "step": jnp.asarray(3, jnp.int32),
  }


@pytest.fixture
def workdir(state, tmp_path):
  """Checkpoints 1, 2, 3; the step inside is the number outside."""
  saver = checkpoint.Checkpointer(tmp_path, settings_lib.Train())
  for step in (1, 2, 3):
    saver.save(step, state | {"step": jnp.asarray(step, jnp.int32)})
  saver.close()
  return tmp_path


def abstract(state):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    state,
  )


def newest(workdir, state, **options):
  reader = checkpoint.Checkpointer(workdir, settings_lib.Train())
  try:
    return reader.restore_newest(abstract(state), **options)
  finally:
    reader.close()


def data_file(workdir, step):
  """The file with the arrays' bytes: the largest."""
  files = (workdir / "checkpoints" / str(step) / "default").rglob("*")
  return max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0x10
  path.write_bytes(content)


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("harm", [flip, cut, lambda path: path.unlink()])
def test_the_one_before_a_damaged_checkpoint_is_taken(
  harm, workdir, state, capsys
):
  harm(data_file(workdir, 3))
  step, found = newest(workdir, state)
  assert step == 2
  assert int(found["step"]) == 2
  np.testing.assert_array_equal(
    found["params"]["kernel"], state["params"]["kernel"]
  )
  told = capsys.readouterr().out
  assert "warning: checkpoint of step 3 is damaged (" in told
  assert (workdir / "damaged_checkpoints" / "3.0" / "default").is_dir()
  # The run saves its step 3 anew.
  saver = checkpoint.Checkpointer(workdir, settings_lib.Train())
  saver.save(3, state)
  saver.close()
  assert newest(workdir, state)[0] == 3


def test_a_half_written_checkpoint_does_not_count(workdir, state):
  folder = workdir / "checkpoints"
  (folder / "3").rename(folder / "4.orbax-checkpoint-tmp-1")
  assert newest(workdir, state)[0] == 2


def test_nothing_is_trained_over_a_run_that_cannot_be_read(workdir, state):
  for step in (1, 2, 3):
    cut(data_file(workdir, step))
  with pytest.raises(errors.RunStopped, match="none of the checkpoints"):
    newest(workdir, state)
  assert len(list((workdir / "damaged_checkpoints").iterdir())) == 3
  # Nor by the same command again, unless it is told to.
  with pytest.raises(errors.UserError, match=r"train\.start_over=true"):
    newest(workdir, state)
  assert newest(workdir, state, start_over=True) is None
  assert len(list((workdir / "damaged_checkpoints").iterdir())) == 3


FAULTS = {
  "disk": OSError(5, "Input/output error"),
  "server": ValueError("UNAVAILABLE: Error reading: HTTP response code: 503"),
  "busy": ValueError("FAILED_PRECONDITION: [OS error 16: EBUSY Resource busy]"),
  "memory": MemoryError(),
  "device": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
}
STAGES = {
  "listing": (stored, "entries"),
  "metadata": (stored, "metadata"),
  "arrays": (stored, "arrays"),
  "sums": (stored, "sums"),
  "checking": (checksums, "check"),
}


def broken(monkeypatch, stage, fault, times):
  """A stage of reading fails so often, and then works."""
  module, name = STAGES[stage]
  real, left = getattr(module, name), [times]

  def fail(*args):
    left[0] -= 1
    if left[0] >= 0:
      # As Orbax wraps what TensorStore says.
      raise Exception("Encountered error while reading") from FAULTS[fault]
    return real(*args)

  monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_trouble_that_passes_costs_nothing(
  stage, fault, workdir, state, monkeypatch, capsys
):
  broken(monkeypatch, stage, fault, times=2)
  step, _ = newest(workdir, state)
  assert step == 3
  assert capsys.readouterr().out.count("cannot be read") == 2
  assert not (workdir / "damaged_checkpoints").exists()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", ["disk", "device"])
def test_trouble_that_stays_ends_the_run_and_moves_nothing(
  stage, fault, workdir, state, monkeypatch
):
  metrics_file = workdir / "metrics.jsonl"
  metrics_file.write_text('{"step": 3, "loss": 1.0}\n')
  before = {str(p) for p in workdir.rglob("*")}
  broken(monkeypatch, stage, fault, times=99)
  with pytest.raises(errors.RunStopped) as caught:
    newest(workdir, state)
  message = str(caught.value)
  assert "cannot be read (" in message and "\n" not in message
  assert ("Input/output" in message) == (fault == "disk")
  assert "nothing was moved" in message
  assert {str(p) for p in workdir.rglob("*")} == before
  assert metrics_file.read_text() == '{"step": 3, "loss": 1.0}\n'


def test_a_sum_that_is_wrong_once_is_no_damage(workdir, state, monkeypatch):
  """As where the network or the memory flipped the bit."""
  real, calls = checksums.check, []

  def once(*args):
    calls.append(args)
    if len(calls) == 1:
      raise storage_faults.Damaged("other content than saved")
    real(*args)

  monkeypatch.setattr(checksums, "check", once)
  assert newest(workdir, state)[0] == 3 and len(calls) == 2


def has_shapes(monkeypatch):
  """Lets every method have the parameters of `state`."""
  shapes = {"kernel": jax.ShapeDtypeStruct((64, 256), jnp.float32)}
  abstract = modules.Abstract(None, shapes, {})
  monkeypatch.setattr(method.Method, "abstract", abstract)


def test_an_evaluation_waits_for_its_checkpoint_too(workdir, tiny, monkeypatch):
  has_shapes(monkeypatch)
  checkpoint.workdir_lib.write_config(workdir, tiny)
  broken(monkeypatch, "sums", "server", times=2)
  assert checkpoint.restore_params(workdir)[1] == 3
  broken(monkeypatch, "sums", "server", times=99)
  with pytest.raises(errors.RunStopped, match="503"):
    checkpoint.restore_params(workdir)


@pytest.mark.parametrize("start", [0, 2])
def test_metrics_are_moved_and_never_erased(start, tmp_path, monkeypatch):
  monkeypatch.setattr(metrics, "_tensorboard", lambda workdir: None)
  lines = [f'{{"step": {step}, "loss": 0.5}}\n' for step in (1, 2, 3)]
  path = tmp_path / "metrics.jsonl"
  path.write_text("".join(lines) + '{"step": 4, "lo')
  replaced = tmp_path / "metrics_replaced.jsonl"
  replaced.write_text("before\n")
  metrics.Writer(tmp_path, start).close()
  assert path.read_text() == "".join(lines[:start])
  assert replaced.read_text() == "before\n" + "".join(lines[start:])


def test_a_damaged_checkpoint_is_not_judged(workdir, tiny, monkeypatch):
  has_shapes(monkeypatch)
  checkpoint.workdir_lib.write_config(workdir, tiny)
  assert checkpoint.restore_params(workdir)[1] == 3
  flip(data_file(workdir, 3))
  with pytest.raises(errors.RunStopped, match=r"other content.*params/kernel"):
    checkpoint.restore_params(workdir)


def test_another_model_or_optimiser_is_refused_by_name(workdir, state):
  wider = state | {"params": {"kernel": jnp.zeros((64, 512))}}
  more = state | {"momentum": jnp.zeros((2, 2))}
  for other, words in (
    (wider, r"params/kernel \(\(64, 256\) there, \(64, 512\) here\)"),
    (more, r"momentum \(missing there, \(2, 2\) here\)"),
    ({"step": state["step"]}, r"params/kernel \(\(64, 256\) there, missing"),
  ):
    with pytest.raises(errors.UserError, match=words):
      newest(workdir, other)
  assert not (workdir / "damaged_checkpoints").exists()


def test_checksums_see_values_and_places():
  x = jnp.arange(12.0).reshape(3, 4)
  one = checksums.of({"x": x})
  assert checksums.of({"x": x}) == one
  swapped = x.at[0, 0].set(x[0, 1]).at[0, 1].set(x[0, 0])
  for other in (x.at[1, 2].add(1e-6), swapped, -x, x.T):
    assert checksums.of({"x": other}) != one
  # With Python's whole numbers: bits of 1.0 at place 0, of 2.0 at place 1.
  wanted = (mix(0x3F800000 ^ mix(0)) + mix(0x40000000 ^ mix(1))) % 2**32
  assert checksums.of({"y": jnp.asarray([1.0, 2.0])}) == {"y": wanted}


def mix(x):
  x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
  x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
  return x ^ (x >> 16)


def test_checksums_do_not_depend_on_sharding(state):
  mesh = jax.make_mesh((8,), ("x",))
  spec = jax.sharding.PartitionSpec(None, "x")
  kernel = state["params"]["kernel"]
  spread = jax.device_put(kernel, jax.sharding.NamedSharding(mesh, spec))
  assert checksums.of([spread]) == checksums.of([kernel])


def test_a_full_disk_is_one_line_and_harms_nothing(workdir, state):
  """A limit on the size of files stands for it."""
  saver = checkpoint.Checkpointer(workdir, settings_lib.Train())
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
  try:
    with pytest.raises(
      errors.RunStopped, match=r"cannot be written to.*complete one: step 3"
    ):
      saver.save(4, state)
      saver.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saver._manager.close()
  step, found = newest(workdir, state)
  assert step == 3
  np.testing.assert_array_equal(
    found["params"]["kernel"], state["params"]["kernel"]
  )
