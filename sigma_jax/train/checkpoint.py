"""Saving and resuming a run with Orbax: asynchronous, sharded, atomic.

A checkpoint becomes visible under its step number only once it is complete, so
a run killed at any instant resumes from the newest complete one. The run's
settings stand beside the checkpoints in `config.json`.
"""

import json
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.models import sigma

CONFIG = "config.json"
_FOLDER = "checkpoints"
# A checkpoint fits only a run that agrees on all of these.
_MODEL_KEYS = (
  "data.num_frames",
  "data.size",
  "model",
  "target",
  "loss.kind",
  "loss.num_prototypes",
)
# Options of sections above that change no parameter's name or shape.
_FREE_KEYS = (
  "model.dtype",
  "model.remat",
  "model.norm_epsilon",
  "target.weights",
  "target.dtype",
)


class Checkpointer:
  """One workdir's checkpoints."""

  def __init__(self, workdir: str | pathlib.Path, train: settings_lib.Train):
    keep: list[Any] = [policies.LatestN(train.keep)]
    if train.keep_every:
      keep.append(policies.EveryNSteps(train.keep_every))
    self._manager = ocp.CheckpointManager(
      _folder(workdir),
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
    """Starts saving; the state may be donated as soon as this returns."""
    self._manager.save(step, args=ocp.args.StandardSave(state))

  def restore(self, step: int, abstract: Any) -> Any:
    """The state of `step`, placed as `abstract`'s shardings say."""
    return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

  def close(self) -> None:
    """Waits for what is being saved and frees the threads."""
    self._manager.wait_until_finished()
    self._manager.close()


def write_config(
  workdir: str | pathlib.Path, settings: settings_lib.Settings
) -> None:
  """Stores the run's settings, refusing a workdir of another model.

  Raises:
    UserError: the workdir's checkpoints are of a model that differs; the
      message lists each key with both values.
  """
  path = pathlib.Path(workdir) / CONFIG
  new = settings.to_dict()
  if path.exists() and _folder(workdir).exists():
    # Through Settings: a run from before an option existed had its default.
    old = read_config(workdir).to_dict()
    differing = [
      f"{key} ({there!r} there, {here!r} here)"
      for key, there, here in _differences(old, new)
      if key.startswith(_MODEL_KEYS) and key not in _FREE_KEYS
    ]
    if differing:
      raise errors.UserError(
        f"{workdir} holds a run of another model: {', '.join(differing)}; "
        "choose another --workdir or restore these settings"
      )
  if jax.process_index() == 0:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(new, indent=1) + "\n")
    partial.replace(path)


def read_config(workdir: str | pathlib.Path) -> settings_lib.Settings:
  """The settings of the run in `workdir`.

  Raises:
    UserError: there is no run in it, or not one of this version's.
  """
  path = pathlib.Path(workdir) / CONFIG
  if not path.is_file():
    raise errors.UserError(
      f"no {CONFIG} in {str(workdir)!r}: expected the workdir of a "
      "pre-training run (a .pth or transformers folder becomes one by python "
      "-m sigma_jax.interop import SOURCE WORKDIR)"
    )
  try:
    return settings_lib.Settings.from_config(json.loads(path.read_text()))
  except ValueError as error:
    raise errors.UserError(f"{path}: {error}") from error


def restore_params(workdir: str | pathlib.Path) -> tuple[dict, int]:
  """Parameters of a run's newest checkpoint, on the first local device.

  Returns:
    The nested dict of float32 arrays, and the step that they are from.

  Raises:
    UserError: the workdir has no run or no complete checkpoint.
  """
  shapes = sigma.abstract(read_config(workdir)).params
  steps = ocp.path.step.checkpoint_steps(_folder(workdir))
  if not steps:
    raise errors.UserError(f"no complete checkpoint under {_folder(workdir)}")
  step = max(steps)
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  item = {
    "params": jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=device
      ),
      shapes,
    )
  }
  with ocp.PyTreeCheckpointer() as checkpointer:
    restored = checkpointer.restore(
      _folder(workdir) / str(step) / "default",
      args=ocp.args.PyTreeRestore(
        item=item,
        restore_args=ocp.checkpoint_utils.construct_restore_args(item),
        partial_restore=True,
      ),
    )
  return restored["params"], step


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
  folder = _folder(workdir)
  if folder.exists() and ocp.path.step.checkpoint_steps(folder):
    raise errors.UserError(f"{workdir} already holds checkpoints")
  write_config(workdir, settings)
  saver = Checkpointer(workdir, settings.train)
  saver.save(step, {"params": params})
  saver.close()


def _folder(workdir: str | pathlib.Path) -> pathlib.Path:
  return pathlib.Path(workdir).absolute() / _FOLDER


def _differences(old: Any, new: Any, prefix: str = ""):
  """Yields (dotted key, old value, new value) of leaves that differ."""
  for key in sorted(set(old) | set(new)):
    there, here = old.get(key), new.get(key)
    if isinstance(there, dict) and isinstance(here, dict):
      yield from _differences(there, here, f"{prefix}{key}.")
    elif there != here:
      yield f"{prefix}{key}", there, here
