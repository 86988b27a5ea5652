"""Masked pre-training."""

import pathlib

from sigma_jax import errors, settings
from sigma_jax.interop import teacher
from sigma_jax.tasks import reading
from sigma_jax.train import checkpoint, identity, loop


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Pre-trains on `data.train`; resumes what the workdir holds.

  A fresh run starts from `init`'s parameters where that is set.

  Raises:
    UserError: the input has to change.
  """
  from sigma_jax.data import sources

  if config.model.table_grid:
    raise errors.UserError(
      "model.table_grid is for fine-tuning and evaluation: pre-training has "
      "the formula's own rows; leave it out"
    )
  frozen = teacher.load(config)
  initial, step = None, None
  if config.init:
    initial, step = checkpoint.restore_params(config.init)
  source = sources.load(config.data.train, config.data.root)
  rows = f"{len(source)} rows of {config.data.train}"
  identity.claim(
    workdir,
    {
      "init": identity.init(config.init, initial, step),
      "data.train": identity.Thing(
        rows, sources.identity(source, labels=False)
      ),
    },
  )
  training = reading.Training(config, workdir, source)
  loop.pretrain(
    config,
    workdir,
    num_examples=len(source),
    open_batches=training,
    account=training.account,
    file_name=lambda row: source.files[row],
    frozen=frozen,
    initial=initial,
    profile_steps=profile_steps,
  )
