"""Unsupervised segmentation of annotated sequences."""

import functools
import pathlib

import jax

from sigma_jax import errors, settings
from sigma_jax.evaluate.segmentation import run as segmentation_run


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Segments the sequences of `data.val` by clustering features of `init`."""
  from sigma_jax.data import storage
  from sigma_jax.data.annotations import annotated, sequences
  from sigma_jax.data.video import mp4

  def stamps(files):
    return [[file, file and storage.stamp(file)] for file in files]

  del profile_steps  # nothing is trained
  if jax.process_count() > 1:
    raise errors.UserError(
      "segmentation runs in one process; leave --distributed out"
    )
  sources = [
    segmentation_run.Source(
      sequence.name,
      functools.partial(stamps, sequence.frames + sequence.masks),
      functools.partial(annotated.read, sequence, config.data),
    )
    for sequence in sequences.load(config.data.val)
  ]
  segmentation_run.run(config, workdir, sources, mp4.encode)
