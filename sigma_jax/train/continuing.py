"""A run that goes on with other options: what may differ, and a record of it.

Options fall into three kinds. Harmless ones change nothing of what is trained,
or only its rounding. Steering ones are those that a run's own messages advise
to change in the middle of it. Any other one would make two halves of a run that
no command describes: it needs `train.override`. All changes but harmless ones
are written to changes.jsonl with their step.
"""

import dataclasses
import json
import os
from typing import Any, NamedTuple

import jax

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib
from sigma_jax.train import metrics, stored
from sigma_jax.train import workdir as workdir_lib

CHANGES = "changes.jsonl"

_HARMLESS = (
  "train.log_every",
  "train.checkpoint_every",
  "train.keep",
  "train.keep_every",
  "train.keep_best",
  "train.accumulate",
  "train.start_over",
  "train.override",
  "mesh",
  "model.remat",
  "model.attention",
  "loss.kernels",
  # Paths; what stands there is compared by content, see `identity`.
  "init",
  "data.train",
  "data.mixture",
  "data.root",
  "data.list_form",
  "data.label_sets",
  "data.tar_labels",
  "supervised.label_set",
  "supervised.train_targets",
  "data.workers",
  "data.prefetch",
  "data.max_bad_share",
  "data.file_timeout",
  # How a model is judged.
  "data.val",
  "evaluate",
  "probe",
  "segmentation",
  "supervised.views",
  "supervised.test_batch_size",
  "supervised.bootstrap",
  "supervised.val_targets",
)
# Sections that a task does not read.
_UNREAD = {
  "pretrain": ("supervised", "augment"),
  "supervised": ("masking", "target", "loss"),
}
_STEERING = (
  "train.steps",
  "train.epochs",
  "optimizer.base_lr",
  "optimizer.min_lr",
  "optimizer.clip_norm",
)


class Change(NamedTuple):
  """An option whose value differs from that of the run so far."""

  key: str
  before: Any
  now: Any

  def __str__(self):
    return f"{self.key} ({self.before!r} there, {self.now!r} here)"


def changes(
  workdir: str | os.PathLike, settings: settings_lib.Settings
) -> list[Change]:
  """What differs from the run that the workdir holds; [] where it holds none.

  Raises:
    UserError: it is a run of another model, whose checkpoints do not fit.
  """
  # By listing: `exists` says no where the storage does not answer.
  steps = stored.entries(workdir_lib.checkpoints(workdir))
  config = workdir_lib.path(workdir) / workdir_lib.CONFIG
  if not any(name.isdigit() for name in steps) or not config.exists():
    return []
  old, new = workdir_lib.read_config(workdir).to_dict(), settings.to_dict()
  found = [
    Change(*each)
    for each in workdir_lib.differences(old, new)
    if each[0] != "model.init"
  ]
  shapes = [f"method.{name}" for name in settings.method.shapes]
  another = [
    each
    for each in found
    if workdir_lib.is_of_model(each.key) or each.key in shapes
  ]
  if another:
    raise errors.UserError(
      f"{workdir} holds a run of another model: {_listed(another)}; choose "
      "another --workdir or restore these settings"
    )
  return found


def _listed(found: list[Change]) -> str:
  return ", ".join(map(str, found))


def _is(key: str, kinds: tuple[str, ...]) -> bool:
  return any(key == kind or key.startswith(kind + ".") for kind in kinds)


def _counting(
  found: list[Change], settings: settings_lib.Settings
) -> list[Change]:
  """Those that are not harmless."""
  harmless = _HARMLESS + _UNREAD.get(settings.task, ())
  return [each for each in found if not _is(each.key, harmless)]


def check(
  workdir: str | os.PathLike,
  settings: settings_lib.Settings,
  found: list[Change],
) -> None:
  """Refuses to resume with options that would change the run unsaid.

  Args:
    workdir, settings: of the run.
    found: from `changes`.

  Raises:
    UserError: names each of them, with both values.
  """
  refused = [
    each for each in _counting(found, settings) if not _is(each.key, _STEERING)
  ]
  if refused and not settings.train.override:
    raise errors.UserError(
      f"{workdir} holds a run with other options: {_listed(refused)}; restore "
      "them, choose another --workdir, or go on from the newest checkpoint "
      "with the new ones by --config.train.override=True"
    )


def settle(
  workdir: str | os.PathLike,
  settings: settings_lib.Settings,
  found: list[Change],
  step: int,
) -> None:
  """Stores the settings of a run that begins or goes on; says what differs.

  Args:
    workdir, settings: of the run.
    found: from `changes`, let pass by `check`.
    step: after which the run goes on.
  """
  if found:
    metrics.say(f"goes on with other options: {_listed(found)}")
  if step:
    # Its weights were drawn at its start, and are not drawn again.
    drawn = workdir_lib.read_config(workdir).model.init
    model = dataclasses.replace(settings.model, init=drawn)
    settings = dataclasses.replace(settings, model=model)
  workdir_lib.write_config(workdir, settings)
  counting = _counting(found, settings)
  if counting and jax.process_index() == 0:
    file = workdir_lib.path(workdir) / CHANGES
    before = file.read_text() if file.exists() else ""
    lines = [
      json.dumps({"after_step": step, **each._asdict()}) + "\n"
      for each in counting
    ]
    files.write_whole(file, before + "".join(lines))


def leave(workdir: str | os.PathLike, found: list[Change]) -> None:
  """Says of a complete run that it keeps its own options."""
  if found:
    metrics.say(
      f"the run in {workdir} is complete: nothing is trained, and its own "
      f"options stand; this command's differ: {_listed(found)}"
    )
