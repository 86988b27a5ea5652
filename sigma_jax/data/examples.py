"""One example at a time: a row of the source becomes a clip of pixels.

Plain functions of settings and a number, without TensorFlow: the pipeline
calls them from its threads.
"""

from collections.abc import Callable

import numpy as np

from sigma_jax.data import sampling, transforms
from sigma_jax.data.bad_files import TooManyBadFiles
from sigma_jax.data.containers import DecodeError
from sigma_jax.data.sampling import Purpose
from sigma_jax.data.sources import Source, Video
from sigma_jax.settings import Settings

# Other files tried in the place of one that cannot be read.
_REPLACEMENTS = 8

OnBad = Callable[[int, str, str], None]  # row, path, reason
OnTried = Callable[[int], None]  # row


class Examples:
  """Reads clips for training and evaluation; safe from many threads."""

  def __init__(
    self,
    settings: Settings,
    source: Source,
    on_bad: OnBad,
    on_tried: OnTried | None = None,
  ):
    """Binds the sources of every draw.

    Args:
      settings: `data` and `seed` are read.
      source: n rows.
      on_bad: told of every file that cannot be read; may raise to stop.
      on_tried: told of every row before its file is opened.
    """
    self._data = settings.data
    self._seed = settings.seed
    self._source = source
    self._on_bad = on_bad
    self._on_tried = on_tried

  def train(self, number: int) -> tuple[np.ndarray, int, int]:
    """The clip of one place in training, a pure function of seed and number.

    Every n numbers are an epoch: each row once, in an order of its own. A row
    that cannot be read is replaced by others drawn for this place.

    Args:
      number: step * global batch + slot.

    Returns:
      Video, uint8 [t, size, size, 3]; its label; its row in the source.

    Raises:
      TooManyBadFiles: the row and all its replacements cannot be read.
    """
    rows = len(self._source)
    epoch, position = divmod(number, rows)
    row = int(sampling.shuffled_index(self._seed, epoch, position, rows))
    for attempt in range(1 + _REPLACEMENTS):
      if attempt:
        draw = self._generator(number, Purpose.REPLACE, attempt)
        row = int(draw.integers(rows))
      video = self._try(row, self._train_clip, number, attempt)
      if video is not None:
        return video, int(self._source.labels[row]), row
    raise TooManyBadFiles(
      f"{1 + _REPLACEMENTS} files in a row cannot be read, the last one is "
      f"{self._source.files[row]}; check the files of "
      f"{self._source.path} and data.root"
    )

  def evaluate(
    self, row: int, sample: int, samples: int
  ) -> tuple[np.ndarray, int, bool]:
    """One centrally cropped clip of a row.

    Args:
      row: of the source.
      sample: 0: from the middle; others: starts that depend on the seed.
      samples: clips a row.

    Returns:
      Video, uint8 [t, size, size, 3]; its label; whether the file could be
      read (if not, the video is black).
    """
    video = self._try(row, self._eval_clip, row, sample, samples)
    label = int(self._source.labels[row])
    if video is None:
      return self.blank(), label, False
    return video, label, True

  def blank(self) -> np.ndarray:
    """A black clip, uint8 [t, size, size, 3]."""
    size = self._data.size
    return np.zeros((self._data.num_frames, size, size, 3), np.uint8)

  def _try(self, row: int, cut: Callable, *args) -> np.ndarray | None:
    """Opens a row's file and cuts a clip; None, reported, if it is bad."""
    path = self._source.files[row]
    if self._on_tried is not None:
      self._on_tried(row)
    try:
      with self._source.open(row, self._data.file_timeout) as video:
        return np.ascontiguousarray(cut(video, *args))
    except DecodeError as error:
      self._on_bad(row, path, error.reason)
      return None

  def _generator(self, number, purpose, attempt=0):
    return sampling.generator(self._seed, number, purpose, attempt)

  def _train_clip(self, video: Video, number: int, attempt: int) -> np.ndarray:
    data = self._data
    rng = self._generator(number, Purpose.TRAIN, attempt)
    indices = sampling.dense_clip_indices(
      video.num_frames, data.num_frames, data.stride, rng
    )

    def box_of(width: int, height: int):
      if data.crop == "multiscale":
        return sampling.multiscale_crop_box(
          width, height, data.size, data.scales, rng
        )
      return sampling.center_crop_box(width, height)

    clip = video.read(indices, box_of, data.size)
    if data.flip and rng.random() < 0.5:
      clip = transforms.mirror(clip)
    return clip

  def _eval_clip(
    self, video: Video, row: int, sample: int, samples: int
  ) -> np.ndarray:
    data = self._data
    wanted = (video.num_frames, data.num_frames, data.stride)
    if sample:
      rng = self._generator(row * samples + sample, Purpose.EVAL)
      indices = sampling.dense_clip_indices(*wanted, rng)
    else:
      indices = sampling.centered_clip_indices(*wanted)
    return video.read(indices, sampling.center_crop_box, data.size)
