"""A clip of one file, cut as evaluations and `features` cut it."""

import dataclasses
import os

import numpy as np

from sigma_jax import errors, settings
from sigma_jax.inference import encoder as encoder_lib


def read_clip(
  path: str | os.PathLike,
  encoder: encoder_lib.VideoEncoder | None = None,
  *,
  num_frames: int = 0,
  stride: int = 0,
  size: int = 0,
) -> np.ndarray:
  """Reads the clip in the middle of a video: the pixels that `features` sees.

  Frames are `stride` apart, around the middle. (If the encoder's run sampled
  by segments, they are one from each of `num_frames` equal parts.) The largest
  square in the middle of each frame is scaled bilinearly, antialiased as
  `settings.Data` says. Training cuts other places and scales them alike.

  Args:
    path: a video, or an image as a still clip; local or gs://.
    encoder: its run says what is not given here. None: 16 frames, 4 apart, of
      224 pixels.
    num_frames, stride, size: of the clip; size in pixels.

  Returns:
    uint8 [num_frames, size, size, 3], RGB. `np.stack` makes a batch of several.

  Raises:
    UserError: the file cannot be read, with the reason.
    ValueError: sizes that do not divide into the encoder's tubes.
  """
  from sigma_jax.data import examples, manifest, sources

  run = encoder.settings if encoder else settings.Settings()
  given = {"num_frames": num_frames, "stride": stride, "size": size}
  given = {name: value for name, value in given.items() if value}
  run = dataclasses.replace(run, data=dataclasses.replace(run.data, **given))
  path, reasons = os.fspath(path), []
  rows = manifest.Manifest(path, (path,), np.array([-1], np.int32))
  reader = examples.Examples(
    run, sources.Files(rows), lambda row, path, reason: reasons.append(reason)
  )
  pictures, _, valid, _ = reader.evaluate(0, 1, (1, 1))
  if not valid:
    raise errors.UserError(f"{path} cannot be read: {reasons[0]}")
  return pictures["video"][0]
