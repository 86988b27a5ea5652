"""Batches of a run's own share, with account of the files that are bad."""

import jax
import numpy as np

from sigma_jax import errors, settings
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import metrics

_NAMED = 5  # classes shown of many
_TRIED = 8  # test videos, until one can be read


def train(config: settings.Settings, workdir, source):
  """A function of the start step that opens `pipeline.train_batches`."""
  from sigma_jax.data import pipeline

  bad = _account(config, workdir, source)

  def open_batches(start_step: int):
    # The clips of this process's own devices, wherever the mesh has them.
    mesh = mesh_lib.make(config.mesh)
    slots = mesh_lib.rows(mesh, config.train.batch_size)
    return pipeline.train_batches(
      config, source, start_step=start_step, slots=slots, **bad
    )

  return open_batches


def evaluate(
  config: settings.Settings, workdir, source, *, batch_size: int, **options
):
  """`pipeline.eval_batches`; options are its `samples` and `views`.

  The batch is made larger until the devices divide it, so that any size can be
  asked for on any of them: no clip's output depends on it. To be used in a
  `with`.
  """
  from sigma_jax.data import pipeline

  bad = _account(config, workdir, source)
  batch_size = -(-batch_size // jax.device_count()) * jax.device_count()
  return pipeline.eval_batches(
    config,
    source,
    batch_size=batch_size,
    **options,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    **bad,
  )


def check(config: settings.Settings, source, **options) -> None:
  """Refuses test videos none of which can be read, before what costs hours.

  Args:
    config: `data` and `seed` are read.
    source: rows; a few are tried, evenly spread, until one is read.
    options: `samples` and `views`, as the test will have them.

  Raises:
    UserError: with the first one's reason.
  """
  from sigma_jax.data import examples

  reasons: list[str] = []
  reader = examples.Examples(
    config, source, lambda row, path, why: reasons.append(f"{path}: {why}")
  )
  rows = np.unique(np.linspace(0, len(source) - 1, _TRIED).astype(int))
  for row in rows:
    if reader.evaluate(int(row), **options)[2]:
      return
  raise errors.UserError(
    f"none of the {len(rows)} test videos of {source.path} that were tried can "
    f"be read; the first: {reasons[0]}"
  )


def warn_unseen(path: str, train, test, names) -> None:
  """Warns of classes that only test rows have; see `splits.unseen`."""
  from sigma_jax.data import splits

  found = splits.unseen(train, test, names)
  if found:
    shown = ", ".join(found[:_NAMED]) + (", ..." if found[_NAMED:] else "")
    metrics.say(
      f"warning: {len(found)} of the {len(names)} classes are in {path} but in "
      f"no training row, so they will never be told: {shown}"
    )


def _account(config, workdir, source) -> dict:
  from sigma_jax.data import bad_files

  bad = bad_files.BadFiles(
    str(workdir), config.data.max_bad_share, len(source), jax.process_index()
  )
  return {"on_bad": bad.report, "on_tried": bad.tried}
