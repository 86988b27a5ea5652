"""Batches of a run's own share, with account of the files that are bad."""

import jax

from sigma_jax import settings


def train(config: settings.Settings, workdir, source):
  """A function of the start step that opens `pipeline.train_batches`."""
  from sigma_jax.data import pipeline

  bad = _account(config, workdir, source)

  def open_batches(start_step: int):
    return pipeline.train_batches(
      config, source, start_step=start_step, **_share(), **bad
    )

  return open_batches


def evaluate(config: settings.Settings, workdir, source, **options):
  """`pipeline.eval_batches`; options are its `batch_size`, `samples`, `views`.

  To be used in a `with`.
  """
  from sigma_jax.data import pipeline

  bad = _account(config, workdir, source)
  return pipeline.eval_batches(config, source, **options, **_share(), **bad)


def _share() -> dict:
  return {
    "process_index": jax.process_index(),
    "process_count": jax.process_count(),
  }


def _account(config, workdir, source) -> dict:
  from sigma_jax.data import bad_files

  bad = bad_files.BadFiles(
    str(workdir), config.data.max_bad_share, len(source), jax.process_index()
  )
  return {"on_bad": bad.report, "on_tried": bad.tried}
