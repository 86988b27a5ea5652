"""Masked pre-training."""

import pathlib

from sigma_jax import distributed, errors, settings
from sigma_jax.methods import method
from sigma_jax.tasks import in_run, reading, starting
from sigma_jax.train import identity, loop, metrics


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Pre-trains; resumes what the workdir holds.

  A fresh run starts from `init`'s parameters where that is set: see
  `starting.for_pretraining`.

  Raises:
    UserError: the input has to change.
  """
  from sigma_jax.data import mixture, sources

  if config.model.table_grid:
    raise errors.UserError(
      "model.table_grid is for fine-tuning and evaluation: pre-training has "
      "the formula's own rows; leave it out"
    )
  chosen = method.of(config)
  frozen = chosen.load()
  initial, begun_from = _initial(config, workdir)
  source = distributed.agreed(
    lambda: mixture.load(config.data),
    lambda source: reading.contents(mixture.contents(source)),
  )
  reading.say_forms(*mixture.contents(source).values())
  score = in_run.scorer(config)
  begun_from["data.train"] = identity.Thing(*mixture.identity(source))
  identity.claim(workdir, begun_from)
  if config.data.mixture:
    for line in source.describe():
      metrics.say(line)
  training = reading.Training(
    config, workdir, source, chosen.views(), chosen.luma
  )
  loop.pretrain(
    config,
    workdir,
    num_examples=len(source),
    open_batches=training,
    account=training.account,
    counts=training.counts,
    file_name=lambda row: sources.name(source, row),
    frozen=frozen,
    initial=initial,
    score=score,
    profile_steps=profile_steps,
  )


def _initial(config, workdir) -> tuple[dict | None, dict[str, identity.Thing]]:
  """Parameters of a fresh run, None: random ones; and where they are from."""
  if identity.init_is_gone(workdir, config.init):
    metrics.say(f"init {config.init!r} is gone, and no longer needed")
    return None, {}
  if not config.init:
    return None, {"init": identity.init("", None, None)}
  # A run that goes on has its own weights; these are only compared.
  fresh = not identity.trained(workdir)
  say = metrics.say if fresh else lambda line: None
  params, taken, step = starting.for_pretraining(config, say)
  return params, {"init": identity.init(config.init, taken, step)}
