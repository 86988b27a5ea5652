"""Saving and resuming a run with Orbax: asynchronous, sharded, atomic.

A checkpoint becomes visible under its step number only once it is complete, so
a run killed at any instant resumes from the newest complete one.
"""

import contextlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma
from sigma_jax.train import checksums, metrics
from sigma_jax.train import workdir as workdir_lib

_DAMAGED = "damaged_checkpoints"


class Checkpointer:
  """One workdir's checkpoints; all processes of a run have one each."""

  def __init__(self, workdir: str | pathlib.Path, train: settings_lib.Train):
    keep: list[Any] = [policies.LatestN(train.keep)]
    if train.keep_every:
      keep.append(policies.EveryNSteps(train.keep_every))
    self._folder = workdir_lib.checkpoints(workdir)
    with _as_stop(f"{self._folder} cannot be made or read"):
      self._manager = ocp.CheckpointManager(
        self._folder,
        item_names=("default", "checksums"),
        options=ocp.CheckpointManagerOptions(
          save_decision_policy=policies.FixedIntervalPolicy(1),
          preservation_policy=policies.AnyPreservationPolicy(keep),
          cleanup_tmp_directories=True,
          enable_async_checkpointing=True,
        ),
      )

  @property
  def latest(self) -> int | None:
    """Step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: Any) -> None:
    """Starts saving; the state may be donated as soon as this returns.

    Raises:
      RunStopped: this checkpoint, or the one before it, cannot be written.
    """
    with self._writing():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          default=ocp.args.StandardSave(state),
          checksums=ocp.args.JsonSave(checksums.of(state)),
        ),
      )

  def restore(self, step: int, abstract: Any) -> Any:
    """The state of `step`, placed as `abstract`'s shardings say.

    Raises:
      ValueError: an array's content is not what was saved.
      Exception: whatever Orbax meets in a damaged checkpoint.
    """
    args = {"default": ocp.args.StandardRestore(abstract)}
    if (self._folder / str(step) / "checksums").exists():
      args["checksums"] = ocp.args.JsonRestore()
    found = self._manager.restore(step, args=ocp.args.Composite(**args))
    if "checksums" in args:
      checksums.check(found["default"], found["checksums"])
    return found["default"]

  def restore_newest(self, abstract: Any) -> tuple[int, Any] | None:
    """The newest checkpoint that can be read, and its step.

    Damaged ones are moved to `damaged_checkpoints`, and said to be.

    Args:
      abstract: state as ShapeDtypeStructs with shardings.

    Returns:
      Step and state, or None where there is no checkpoint at all.

    Raises:
      UserError: the checkpoint is of another model; names what differs.
      RunStopped: there are checkpoints and none can be read.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      _refuse_another_model(self._folder / str(step), abstract)
      state, reason = None, ""
      try:
        state = self.restore(step, abstract)
      except Exception as error:
        reason = _line(error)
      if not _on_any_process(bool(reason)):
        return step, state
      metrics.say(
        f"warning: checkpoint of step {step} is damaged "
        f"({reason or 'as another process sees it'}); it is moved to "
        f"{_DAMAGED} and the one before it is taken"
      )
      self._set_aside(step)
    if steps:
      raise errors.RunStopped(
        f"none of the checkpoints in {self._folder} can be read; they are in "
        f"{_DAMAGED} now, and the same command starts from the beginning"
      )
    return None

  def wait(self) -> None:
    """Waits for what is being saved; RunStopped if it cannot be written."""
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits as `wait` does, and frees the threads."""
    try:
      self.wait()
    finally:
      self._manager.close()

  def _writing(self):
    """Turns what Orbax meets while it writes into RunStopped."""

    def problem():
      # Asked of the disk: the manager counts what it is still writing.
      steps = ocp.path.step.checkpoint_steps(self._folder)
      return (
        f"a checkpoint cannot be written to {self._folder}; newest complete "
        f"one: {f'step {max(steps)}' if steps else 'none'}; make room or "
        "choose another --workdir, the same command resumes"
      )

    return _as_stop(problem)

  def _set_aside(self, step: int) -> None:
    if jax.process_index() == 0:
      damaged = self._folder.parent / _DAMAGED
      damaged.mkdir(parents=True, exist_ok=True)
      number = 0
      while (damaged / f"{step}.{number}").exists():
        number += 1
      (self._folder / str(step)).rename(damaged / f"{step}.{number}")
    _together("sigma_jax damaged checkpoint")
    self._manager.reload()


@contextlib.contextmanager
def _as_stop(problem: str | Callable[[], str]):
  try:
    yield
  except errors.RunStopped:
    raise
  except Exception as error:
    text = problem if isinstance(problem, str) else problem()
    raise errors.RunStopped(f"{text} ({_line(error)})") from error


def _line(error: BaseException) -> str:
  """An error's innermost reason, in one short line."""
  while error.__cause__ is not None:
    error = error.__cause__
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= 200 else text[:200] + "..."


def _refuse_another_model(folder, abstract: Any) -> None:
  """Raises UserError naming arrays that are missing, surplus or of another
  shape; silent where the checkpoint's own list of arrays cannot be read."""
  try:
    with ocp.StandardCheckpointer() as reader:
      metadata = reader.metadata(folder / "default").item_metadata.tree
  except Exception:  # damaged: restoring says so
    return
  there, here = _shapes(metadata), _shapes(abstract)
  differing = [
    f"{name} ({there.get(name, 'missing')} there, {here.get(name, 'missing')} "
    "here)"
    for name in sorted(there.keys() | here.keys())
    if there.get(name) != here.get(name)
  ]
  if differing:
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    raise errors.UserError(
      f"{folder} is of another model or optimiser: {', '.join(differing[:5])}"
      f"{more}; choose another --workdir or restore the settings"
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  return {
    checksums.name_of(path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if hasattr(leaf, "shape")
  }


def _on_any_process(flag: bool) -> bool:
  if jax.process_count() == 1:
    return flag
  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def _together(name: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def restore_params(workdir: str | pathlib.Path) -> tuple[dict, int]:
  """Parameters of a run's newest checkpoint, on the first local device.

  Returns:
    The nested dict of float32 arrays, and the step that they are from.

  Raises:
    UserError: the workdir has no run or no complete checkpoint.
    RunStopped: the checkpoint is damaged.
  """
  settings = workdir_lib.read_config(workdir)
  steps = ocp.path.step.checkpoint_steps(workdir_lib.checkpoints(workdir))
  if not steps:
    raise errors.UserError(
      f"no complete checkpoint under {workdir_lib.checkpoints(workdir)}"
    )
  step = max(steps)
  folder = workdir_lib.checkpoints(workdir) / str(step)
  shapes = _params_in(folder, settings)
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  item = {
    "params": jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=device
      ),
      shapes,
    )
  }
  args = ocp.args.PyTreeRestore(
    item=item,
    restore_args=ocp.checkpoint_utils.construct_restore_args(item),
    partial_restore=True,
  )
  sums = folder / "checksums" / "metadata"
  with (
    _as_stop(f"checkpoint {folder} cannot be read"),
    ocp.PyTreeCheckpointer() as checkpointer,
  ):
    restored = checkpointer.restore(folder / "default", args=args)
    if sums.exists():
      checksums.check(restored, json.loads(sums.read_text()))
  return restored["params"], step


def _params_in(folder, settings: settings_lib.Settings) -> dict:
  """Shapes and dtypes of the parameters of a checkpoint."""
  if settings.task != "supervised":
    return sigma.abstract(settings).params
  # What heads there are depends on the data: the list of arrays tells.
  with (
    _as_stop(f"checkpoint {folder} cannot be read"),
    ocp.StandardCheckpointer() as reader,
  ):
    return reader.metadata(folder / "default").item_metadata.tree["params"]


def write_params(
  workdir: str | pathlib.Path,
  settings: settings_lib.Settings,
  params: dict,
  step: int = 0,
) -> None:
  """Makes a workdir of parameters that no run of ours has trained.

  `restore_params`, and so the evaluation of it, reads it like a run's; there
  is no optimiser state to resume from.

  Args:
    workdir: without checkpoints so far.
    settings: whose model the parameters are of.
    params: nested dict of float32 arrays.
    step: number to store them under.

  Raises:
    UserError: the workdir has checkpoints.
  """
  folder = workdir_lib.checkpoints(workdir)
  if folder.exists() and ocp.path.step.checkpoint_steps(folder):
    raise errors.UserError(f"{workdir} already holds checkpoints")
  workdir_lib.write_config(workdir, settings)
  saver = Checkpointer(workdir, settings.train)
  saver.save(step, {"params": params})
  saver.close()
