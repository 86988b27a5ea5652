"""Clips of sequences with the masks of their frames."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.data import sampling
from sigma_jax.data.annotations import sequences
from sigma_jax.data.video import stills
from sigma_jax.data.video.containers import DecodeError


class Clip(NamedTuple):
  """video: uint8 [t, size, size, 3]. masks: uint8 [t, size, size], label ids.

  distinct: bool [t], false where a short sequence's frame comes again.
  """

  video: np.ndarray
  masks: np.ndarray
  distinct: np.ndarray


def read(sequence: sequences.Sequence, data: settings_lib.Data) -> Clip:
  """One clip of a sequence, its frames squeezed to squares.

  Frames without a mask are left out before the clip is sampled: nothing could
  be scored on them.

  Args:
    sequence: what to read.
    data: num_frames, size, antialias, sampling and stride are used; a clip lies
      in the middle of the sequence (dense) or takes the middle of each segment.

  Returns:
    Frames scaled bilinearly and masks by the nearest pixel, both without
    keeping the aspect ratio.

  Raises:
    UserError: there is no mask, or a file cannot be read. One line.
  """
  pairs = [
    (frame, mask)
    for frame, mask in zip(sequence.frames, sequence.masks, strict=True)
    if mask is not None
  ]
  if not pairs:
    raise errors.UserError(f"sequence {sequence.name} has no mask")
  if data.sampling == "segments":
    index = sampling.segment_view_indices(len(pairs), data.num_frames)
  else:
    index = sampling.dense_view_indices(
      len(pairs), data.num_frames, data.stride
    )
  chosen, place = np.unique(index, return_inverse=True)
  frames = [_frame(pairs[i][0], data) for i in chosen]
  masks = [_mask(pairs[i][1], data.size) for i in chosen]
  distinct = np.diff(index, prepend=-1) > 0
  return Clip(np.stack(frames)[place], np.stack(masks)[place], distinct)


def _frame(path: str, data: settings_lib.Data) -> np.ndarray:
  try:
    with stills.Still(path) as still:
      return still.read(
        *([0], lambda width, height: (0, 0, width, height)),
        *(data.size, data.antialias),
      )[0]
  except DecodeError as error:
    raise errors.UserError(f"cannot read frame {path}: {error}") from error


def _mask(path: str, size: int) -> np.ndarray:
  ids = Image.fromarray(sequences.read_mask(path))
  return np.asarray(ids.resize((size, size), Image.Resampling.NEAREST))
