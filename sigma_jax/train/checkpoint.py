"""Saving and resuming a run with Orbax: asynchronous, sharded, atomic.

A checkpoint becomes visible under its step number only once it is complete, so
a run killed at any instant resumes from the newest complete one.
"""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method as method_lib
from sigma_jax.train import (
  checksums,
  metrics,
  old_layouts,
  retention,
  stored,
  write_faults,
)
from sigma_jax.train import state as state_lib
from sigma_jax.train import storage_faults as faults
from sigma_jax.train import workdir as workdir_lib

_DAMAGED = "damaged_checkpoints"
_REMEDY = (
  "copy one back to checkpoints/STEP if the storage was at fault, choose "
  "another --workdir, or begin anew with --config.train.start_over=true"
)


class Checkpointer:
  """One workdir's checkpoints; all processes of a run have one each."""

  def __init__(
    self,
    workdir: str | pathlib.Path,
    train: settings_lib.Train,
    best: Callable[[], int | None] = lambda: None,
  ):
    """best: step of a checkpoint that stays as long as it is; None: none."""
    self._folder = workdir_lib.checkpoints(workdir)
    # Before the manager does: it takes any trouble for the end.
    faults.patiently(str(self._folder), lambda: stored.entries(self._folder))
    write_faults.mute()
    problem = "checkpoints cannot be kept in {}"
    with write_faults.of_checkpoints(self._folder, problem):
      self._manager = ocp.CheckpointManager(
        self._folder,
        item_names=("default", "checksums"),
        options=ocp.CheckpointManagerOptions(
          save_decision_policy=policies.FixedIntervalPolicy(1),
          preservation_policy=retention.policy(train, best),
          cleanup_tmp_directories=True,
          enable_async_checkpointing=True,
        ),
      )

  @property
  def latest(self) -> int | None:
    """Step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  @property
  def steps(self) -> list[int]:
    """Steps of all checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: Any) -> None:
    """Starts saving; the state may be donated as soon as this returns.

    Raises:
      RunStopped: this checkpoint, or the one before it, cannot be written.
    """
    parts = state_lib.stored(state)
    with self._writing():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          default=ocp.args.StandardSave(parts),
          checksums=ocp.args.JsonSave(checksums.of(parts)),
        ),
      )

  def restore(self, step: int, abstract: Any) -> Any:
    """The state of `step`, placed as `abstract`'s shardings say.

    Raises:
      UserError: it is of another model (names what differs).
      Damaged: what is there is not what was saved.
      RunStopped: it cannot be read for another reason.
    """
    what, folder = f"checkpoint of step {step}", self._folder / str(step)
    parts = state_lib.stored(abstract)
    listed = faults.patiently(str(folder), lambda: stored.metadata(folder))
    if old := old_layouts.has_clipping(listed):
      parts = old_layouts.with_clipping(parts)
    stored.refuse_another_model(folder, listed, parts)
    found = faults.patiently(what, lambda: stored.arrays(folder, parts))
    sums = faults.patiently(what, lambda: stored.sums(folder))
    if sums is not None:
      faults.patiently(what, lambda: checksums.check(found, sums))
    if old:
      found = old_layouts.without_clipping(found)
      metrics.say(
        f"{what} is of an older version, which kept an empty state for "
        "clipping: it is read, and later ones are stored without"
      )
    return found if parts is abstract else abstract._replace(**found)

  def restore_newest(
    self, abstract: Any, start_over: bool = False
  ) -> tuple[int, Any] | None:
    """The newest checkpoint that can be read, and its step.

    Damaged ones are moved to `damaged_checkpoints`, and said to be.

    Args:
      abstract: state as ShapeDtypeStructs with shardings.
      start_over: whether a run may begin where all it has are damaged ones.

    Returns:
      Step and state, or None where there is no checkpoint at all.

    Raises:
      UserError: the checkpoint is of another model (names what differs), or
        the only ones are damaged.
      RunStopped: there are checkpoints and none can be read.
    """
    steps = self.steps
    for step in reversed(steps):
      try:
        return step, self.restore(step, abstract)
      except faults.Damaged as error:
        metrics.say(
          f"warning: checkpoint of step {step} is damaged ({error}); it is "
          f"moved to {_DAMAGED} and the one before it is taken"
        )
      self._set_aside(step)
    if steps:
      raise errors.RunStopped(
        f"none of the checkpoints in {self._folder} can be read; they are in "
        f"{_DAMAGED} now; {_REMEDY}"
      )
    if not start_over and stored.entries(self._folder.parent / _DAMAGED):
      raise errors.UserError(
        f"{self._folder.parent} holds damaged checkpoints and no others; "
        f"{_REMEDY}"
      )
    return None

  def check(self) -> None:
    """Raises as `wait` does, but waits for nothing that is under way."""
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Waits for what is being saved; RunStopped if it cannot be written."""
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits as `wait` does, and frees the threads."""
    try:
      self.wait()
    finally:
      with self._writing():  # it waits too, and may meet another error
        self._manager.close()

  def _writing(self):
    return write_faults.of_checkpoints(self._folder)

  def _set_aside(self, step: int) -> None:
    """Moves a damaged checkpoint; all processes wait until it has gone."""

    def move():
      if jax.process_index() == 0:
        damaged = self._folder.parent / _DAMAGED
        damaged.mkdir(parents=True, exist_ok=True)
        number = 0
        while (damaged / f"{step}.{number}").exists():
          number += 1
        (self._folder / str(step)).rename(damaged / f"{step}.{number}")

    try:
      faults.patiently(f"damaged checkpoint {step}", move)
    except faults.Damaged as error:  # the whole folder has vanished
      raise errors.RunStopped(
        f"checkpoint {self._folder / str(step)} has vanished: {error}"
      ) from error
    self._manager.reload()


def restore_params(
  workdir: str | pathlib.Path, *, average: bool = False, judged: bool = False
) -> tuple[dict, int]:
  """Parameters of a run's newest checkpoint, on the first local device.

  Args:
    workdir: of a run, or made by `write_params`; or one of its checkpoints,
      WORKDIR/checkpoints/STEP, which is then taken.
    average: their moving average instead (`supervised.ema`), where there is
      one; parameters that nobody trained have none.
    judged: of a pre-training whose method has a moving average judged, that
      encoder alone, {"encoder": ...}.

  Returns:
    The nested dict of float32 arrays, and the step that they are from.

  Raises:
    UserError: the workdir has no run or no complete checkpoint.
    RunStopped: the checkpoint is damaged, or cannot be read.
  """
  settings = workdir_lib.read_config(workdir)
  workdir, wanted = workdir_lib.of_checkpoint(workdir)
  folder = workdir_lib.checkpoints(workdir)
  steps = faults.patiently(str(workdir), lambda: stored.steps(folder))
  if not steps or wanted not in (None, *steps):
    which = "" if wanted is None else f" of step {wanted}"
    raise errors.UserError(f"no complete checkpoint{which} under {folder}")
  step = max(steps) if wanted is None else wanted
  folder /= str(step)
  try:
    return _params(folder, settings, average, judged), step
  except faults.Damaged as error:
    raise errors.RunStopped(
      f"checkpoint {folder} is damaged: {error}"
    ) from error


def _params(
  folder, settings: settings_lib.Settings, average: bool, judged: bool
) -> dict:
  what = f"checkpoint {folder}"
  others, path, shapes = _wanted(folder, settings, average, judged)
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
    shapes,
  )
  item = stored.at(others, path, shapes)
  args = ocp.args.PyTreeRestore(
    item=item,
    restore_args=ocp.checkpoint_utils.construct_restore_args(item),
    partial_restore=True,
  )

  def read():
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
      return reader.restore(folder / "default", args=args)

  restored = faults.patiently(what, read)
  for key in path:
    restored = restored[key]
  sums = faults.patiently(what, lambda: stored.sums(folder))
  if sums is not None:
    # By their place in the checkpoint, and nothing else of it.
    found = stored.at({}, path, restored)
    faults.patiently(what, lambda: checksums.check(found, sums))
  return {"encoder": restored} if path[0] == "slow" else restored


def _wanted(
  folder, settings: settings_lib.Settings, average: bool, judged: bool
):
  """Where in a checkpoint the wanted parameters are.

  Returns:
    The tree to ask for, without them; the keys that lead to them; and their
    shapes and dtypes.
  """
  if settings.task != "supervised":
    method = method_lib.of(settings)
    where, name = method.evaluated
    if judged and where == "slow":
      followed = method.follows()[name].of
      return {}, ("slow", name), method.abstract.params[followed]
    return {}, ("params",), method.abstract.params
  # What heads there are depends on the data: the list of arrays tells.
  tree = faults.patiently(
    f"checkpoint {folder}", lambda: stored.metadata(folder)
  )
  parts = tree.get("opt_state", []) if average else []
  for place, part in enumerate(parts):
    # An `optimizer.Average`: stored as a dict of its one field.
    if isinstance(part, dict) and set(part) == {"params"}:
      nothing = jax.tree.map(lambda _: ocp.PLACEHOLDER, parts)
      path = ("opt_state", place, "params")
      return {"opt_state": nothing}, path, part["params"]
  return {}, ("params",), tree["params"]


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
  if stored.steps(folder):
    raise errors.UserError(f"{workdir} already holds checkpoints")
  workdir_lib.write_config(workdir, settings)
  with contextlib.closing(Checkpointer(workdir, settings.train)) as saver:
    saver.save(step, {"params": params})
