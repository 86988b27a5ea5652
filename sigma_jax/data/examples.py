"""One example at a time: a row of the source becomes clips of pixels.

Plain functions of settings and a number, without TensorFlow: the pipeline
calls them from its threads.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from einops import rearrange

from sigma_jax.data import crops, grey, mixture, sampling, sources
from sigma_jax.data.bad_files import TooManyBadFiles
from sigma_jax.data.sampling import Purpose
from sigma_jax.data.sources import Source, Video
from sigma_jax.data.video.containers import DecodeError
from sigma_jax.settings import Luma, Settings, Views

# Other files tried in the place of one that cannot be read.
_REPLACEMENTS = 8

OnBad = Callable[[int, str, str], None]  # row, path, reason
OnTried = Callable[[int], None]  # row
# What is cut out of a video, by its name in a batch: "video", and what is asked
# for beside it; the first axis is the clips'.
Pictures = dict[str, np.ndarray]
# Clips, and the times of the first and last frame: float64 [2] or of each clip.
_Found = tuple[Pictures, np.ndarray]


class Examples:
  """Reads clips for training and evaluation; safe from many threads."""

  def __init__(
    self,
    settings: Settings,
    source: Source,
    on_bad: OnBad,
    on_tried: OnTried | None = None,
    views: tuple[Views, ...] = (),
    luma: Luma | None = None,
  ):
    """Binds the sources of every draw.

    Args:
      settings: `data` and `seed` are read.
      source: n rows.
      on_bad: told of every file that cannot be read; may raise to stop.
      on_tried: told of every row before its file is opened.
      views: further clips that `train` cuts from each video.
      luma: grey frames that go with the clips, if any.
    """
    self._views = views
    self._data = settings.data
    self._seed = settings.seed
    self._source = source
    self._on_bad = on_bad
    self._on_tried = on_tried
    self._luma = luma

  def train(self, number: int) -> tuple[Pictures, int, int, np.ndarray]:
    """The clips of one place in training, a pure function of seed and number.

    Every n numbers are an epoch: each row once, in an order of its own; of a
    mixture, every n of a set's own. A row that cannot be read is replaced by
    others, of the same set, drawn for this place.

    Args:
      number: step * global batch + slot.

    Returns:
      Clips, "video" uint8 [data.samples, t, size, size, 3], "luma" and further
      views as `settings.Luma` and `settings.Views` say; their label; their row
      in the source; the times of the clips' first and last frame, float64 [2].

    Raises:
      TooManyBadFiles: the row and all its replacements cannot be read.
    """
    row, rows = mixture.place(self._source, self._seed, number)
    for attempt in range(1 + _REPLACEMENTS):
      if attempt:
        draw = self._generator(number, Purpose.REPLACE, attempt)
        row = rows[int(draw.integers(len(rows)))]
      found = self._try(row, self._train_clips, number, attempt)
      if found is not None:
        clips, span = found
        return clips, int(self._source.labels[row]), row, span
    raise TooManyBadFiles(
      f"{1 + _REPLACEMENTS} files in a row cannot be read, the last one is "
      f"{self._source.files[row]}; check the files of "
      f"{mixture.part_of(self._source, row).path} and data.root"
    )

  def evaluate(
    self, row: int, samples: int, views: tuple[int, int]
  ) -> tuple[Pictures, int, bool, np.ndarray]:
    """All clips of a row, from one opening of its file.

    Args:
      row: of the source.
      samples: clips in time; the first from the middle, the others where the
        seed and the row say. 1 where there are several views.
      views: clips in time, evenly spread, and of each as many squares, evenly
        spread over the long side; time is the slower axis of the result.

    Returns:
      Clips, as of `train`, [samples * views, ...]; their label; whether the
      file could be read (if not, the clips are black); the times of the first
      and last frame of each, float64 [samples * views, 2].
    """
    found = self._try(row, self._eval_clips, row, samples, views)
    label = int(self._source.labels[row])
    if found is None:
      count = samples * math.prod(views)
      return self.blank(count), label, False, np.zeros((count, 2))
    clips, spans = found
    return clips, label, True, spans

  def blank(self, clips: int) -> Pictures:
    """Black clips."""
    data, asked = self._data, self._luma
    shape = (clips, data.num_frames, data.size, data.size, 3)
    found = {"video": np.zeros(shape, np.uint8)}
    for view in self._views:
      found[view.name] = np.zeros(view.shape(clips), np.uint8)
    if asked is not None:
      slots = -(-data.num_frames // asked.every)
      shape = (clips, slots, asked.frames, asked.size, asked.size)
      found["luma"] = np.zeros(shape, np.uint8)
    return found

  def _try(self, row: int, cut: Callable, *args) -> _Found | None:
    """Opens a row's file and cuts clips; None, reported, if it is bad."""
    path = sources.name(self._source, row)
    if self._on_tried is not None:
      self._on_tried(row)
    try:
      with self._source.open(row, self._data.file_timeout) as video:
        clips, spans = cut(video, *args)
        whole = {name: np.ascontiguousarray(x) for name, x in clips.items()}
        return whole, spans
    except DecodeError as error:
      self._on_bad(row, path, error.reason)
      return None

  def _generator(self, number, purpose, attempt=0):
    return sampling.generator(self._seed, number, purpose, attempt)

  def _train_clips(self, video: Video, number: int, attempt: int) -> _Found:
    data = self._data
    rng = self._generator(number, Purpose.TRAIN, attempt)
    indices = self._random_indices(video.num_frames, rng)
    box_of = functools.partial(self._box, rng, None, data.size)
    clips = self._cut(video, indices, [box_of] * data.samples)
    span = video.times(indices[[0, -1]])  # of what was read last
    # Of draws of their own: clips are the same whatever stands beside them.
    rng = self._generator(number, Purpose.VIEWS, attempt)
    for view in self._views:
      clips[view.name] = np.empty(view.shape(data.samples), np.uint8)
      for place in np.ndindex(data.samples, view.count):
        clips[view.name][place] = self._view(video, view, rng)
    return clips, span

  def _view(self, video: Video, view: Views, rng) -> np.ndarray:
    """One further clip, uint8 [t, size, size, 3]."""
    indices = self._random_indices(video.num_frames, rng, view.num_frames)
    box_of = functools.partial(self._box, rng, view.area, view.size)
    return video.read(indices, box_of, view.size, self._data.antialias)

  def _box(self, rng, area, size: int, width: int, height: int):
    data = self._data
    if area is not None:
      return crops.random_resized(width, height, area[0], rng, area[1])
    if data.crop == "multiscale":
      return crops.multiscale(width, height, size, data.scales, rng)
    if data.crop == "random_resized":
      return crops.random_resized(
        width, height, data.min_area, rng, data.max_area
      )
    return crops.square(width, height)

  def _eval_clips(
    self, video: Video, row: int, samples: int, views: tuple[int, int]
  ) -> _Found:
    in_time, in_space = views
    indices = [
      sampling.view_indices(self._data, video.num_frames, view, in_time)
      for view in range(in_time)
    ]
    for sample in range(1, samples):
      rng = self._generator(row * samples + sample, Purpose.EVAL)
      indices.append(self._random_indices(video.num_frames, rng))
    boxes = [
      functools.partial(crops.square, view=view, views=in_space)
      for view in range(in_space)
    ]
    clips = {
      name: rearrange(
        x, "space (time t) ... -> (time space) t ...", time=len(indices)
      )
      for name, x in self._cut(video, np.concatenate(indices), boxes).items()
    }
    ends = np.concatenate([index[[0, -1]] for index in indices])
    spans = video.times(ends).reshape(-1, 2)
    return clips, np.repeat(spans, in_space, axis=0)

  def _random_indices(
    self, num_frames: int, rng, clip_frames: int = 0
  ) -> np.ndarray:
    data, wanted = self._data, clip_frames or self._data.num_frames
    if data.sampling == "segments":
      return sampling.segment_clip_indices(num_frames, wanted, rng)
    return sampling.dense_clip_indices(num_frames, wanted, data.stride, rng)

  def _cut(self, video: Video, indices: np.ndarray, boxes: list) -> Pictures:
    """Boxes of the same frames, decoded once: [boxes, n, ...] of each.

    Args:
      video: opened.
      indices: of the frames of whole clips, one clip after the other.
      boxes: of `Video.read`.
    """
    options, asked = (self._data.size, self._data.antialias), self._luma
    wanted = indices
    if asked is not None:
      starts = indices.reshape(-1, self._data.num_frames)[:, :: asked.every]
      beside = starts.reshape(-1, 1) + np.arange(asked.frames)
      beside = np.minimum(beside, video.num_frames - 1)
      wanted = np.union1d(indices, beside)
    if len(boxes) == 1:
      frames = video.read(wanted, boxes[0], *options)[None]
    else:
      frames = video.read(wanted, boxes, *options)
    if asked is None:
      return {"video": frames}
    small = grey.shrunk(frames, self._data.size // asked.size)
    return {
      "video": frames[:, np.searchsorted(wanted, indices)],
      "luma": small[:, np.searchsorted(wanted, beside)],
    }
