"""The labelled clips of an evaluation in the run, opened before it."""

import dataclasses
import functools

import jax
import numpy as np

from sigma_jax import distributed, errors, settings
from sigma_jax.evaluate import in_run
from sigma_jax.tasks import probe, reading
from sigma_jax.train import mesh as mesh_lib

_CLIPS_A_DEVICE = 16  # at once: forward alone, so few enough for any model
_HOW = (
  "name labelled clips by evaluate.train and evaluate.test (data.train and "
  "data.val stand in), or leave it out by --config.evaluate.every=0"
)


def scorer(config: settings.Settings) -> in_run.Scorer | None:
  """What scores the run's encoder; None where that is not asked for.

  Raises:
    UserError: the clips are not there, or not labelled; one line.
  """
  if not config.evaluate.every:
    if config.train.keep_best:
      raise errors.UserError(
        "train.keep_best needs evaluations in the run: set evaluate.every"
      )
    return None
  mesh = mesh_lib.make(config.mesh)  # its own errors are not of the clips
  try:
    return _scorer(config, mesh)
  except (errors.UserError, FileNotFoundError) as error:
    raise errors.UserError(
      f"evaluate.every={config.evaluate.every}: {error}; {_HOW}"
    ) from error


def _scorer(config: settings.Settings, mesh) -> in_run.Scorer:
  config = _with_lists(config)
  opened, labels, num_classes = distributed.agreed(
    lambda: probe.open_splits(config),
    lambda found: reading.contents(
      {source.path: source for source in found[0].values()},
      {found[0][split].path: found[1][split] for split in found[0]},
    ),
  )
  splits = []
  for split, source in opened.items():
    rows = _chosen(len(source), config.evaluate.clips)
    reading.check(config, source, samples=1, views=(1, 1))
    splits.append(
      in_run.Split(
        source.path,
        functools.partial(_open, config, source, rows),
        {name: np.asarray(of[rows]) for name, of in labels[split].items()},
      )
    )
  return in_run.Scorer(config, mesh, *splits, num_classes)


def _with_lists(config: settings.Settings) -> settings.Settings:
  """The config with the lists of the evaluation in place of the run's."""
  from sigma_jax.data import manifest

  train = config.evaluate.train or config.data.train
  test = config.evaluate.test or config.data.val
  if not test:
    raise errors.UserError("no test clips are named")
  sets = config.data.label_sets
  if sets and not (
    manifest.are_of(sets, train) and manifest.are_of(sets, test)
  ):
    sets = ""  # of other lists: their own labels count
  data = dataclasses.replace(
    config.data, train=train, val=test, label_sets=sets
  )
  return dataclasses.replace(config, data=data)


def _chosen(count: int, most: int) -> np.ndarray:
  """Rows that are read, int, ascending: the same in every run."""
  return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _open(config: settings.Settings, source, rows: np.ndarray):
  """This process's share of the clips, to be used in a `with`.

  A clip that cannot be read is left out: `num_train` and `num_test` tell. It
  does not count among the bad files, which are those that are trained on.
  """
  from sigma_jax.data import pipeline, sources

  return pipeline.eval_batches(
    config,
    sources.take(source, rows),
    batch_size=_CLIPS_A_DEVICE * jax.device_count(),
    on_bad=lambda row, path, reason: None,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
