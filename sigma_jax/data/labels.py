"""What supervised training learns of each row: classes, several, or a count."""

import dataclasses
from collections.abc import Callable

import numpy as np

from sigma_jax import errors
from sigma_jax.data import manifest, multilabel, repetitions, sources, splits
from sigma_jax.data.windows import Windows
from sigma_jax.settings import Settings

# Of training windows for counting: each repetition is seen cut differently.
_PHASES = 4


@dataclasses.dataclass(frozen=True)
class Labelled:
  """A split: rows to read and what they are to give.

  Attributes:
    source: n rows.
    values: int32 [n] classes, bool [n, c] of several or float32 [n] counts.
    names: of c classes; () for counting.
    videos: int32 [n], the video that a row is of.
    truth: of the m videos: int32 [m], bool [m, c] or float32 [m].
    of_clips: a training batch -> targets of its clips, int32 [b], float32
      [b, c] or float32 [b].
  """

  source: sources.Source
  values: np.ndarray
  names: tuple[str, ...]
  videos: np.ndarray
  truth: np.ndarray
  of_clips: Callable[[dict[str, np.ndarray]], np.ndarray]

  @property
  def num_outputs(self) -> int:
    """What a model has to put out: c, or 1 for counting."""
    return len(self.names) or 1


def load_both(settings: Settings) -> tuple[Labelled, Labelled]:
  """Opens `data.train` and `data.val`, for training and testing.

  Raises:
    FileNotFoundError, UserError: see the formats' own modules; or a file is in
      both, or the training rows are all of one class. One line.
  """
  train, val = _load(settings, "train"), _load(settings, "val")
  splits.check_disjoint(train.source, val.source)
  if settings.supervised.targets == "classes":
    name = settings.supervised.label_set or "label"
    splits.check_classes(train.source.path, name, train.values)
  elif len(train.names) != len(val.names):
    raise errors.UserError(
      f"{train.source.path} has {len(train.names)} classes, {val.source.path} "
      f"{len(val.names)}"
    )
  # Without label sets each split knows the classes that it has itself.
  names = max(train.names, val.names, key=len)
  return (
    dataclasses.replace(train, names=names),
    dataclasses.replace(val, names=names),
  )


def _load(settings: Settings, split: str) -> Labelled:
  path = settings.data.train if split == "train" else settings.data.val
  if not path:
    raise errors.UserError(
      f"data.{split} is not set: it names the {split} split"
    )
  source = sources.load(path, settings.data.root)
  options = settings.supervised
  file = options.train_targets if split == "train" else options.val_targets
  if options.targets == "multilabel":
    return _several(source, file)
  if options.targets == "count":
    return _counted(source, file, settings, _PHASES if split == "train" else 1)
  return _classes(source, settings)


def held_out(
  labelled: Labelled, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Rows to train on and rows to choose by; a video's rows stay together.

  Returns:
    Two sorted int arrays; both have rows of one video or more.

  Raises:
    UserError: there is one video only.
  """
  videos = np.unique(labelled.videos)
  if len(videos) < 2:
    raise errors.UserError(
      f"{labelled.source.path} has one video: none can be held out to choose "
      "among supervised.rates; give one rate"
    )
  order = np.random.default_rng(seed).permutation(videos)
  count = min(max(round(share * len(videos)), 1), len(videos) - 1)
  chosen = np.isin(labelled.videos, order[:count])
  return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def take(labelled: Labelled, rows: np.ndarray) -> Labelled:
  """Some rows as a split of their own; `truth` stays that of all videos."""

  def of_clips(batch):
    return labelled.of_clips({**batch, "index": rows[batch["index"]]})

  return dataclasses.replace(
    labelled,
    source=sources.take(labelled.source, rows),
    values=labelled.values[rows],
    videos=labelled.videos[rows],
    of_clips=of_clips,
  )


def _classes(source, settings: Settings) -> Labelled:
  sets, names = manifest.load_label_sets(settings.data.label_sets, source)
  wanted = settings.supervised.label_set or next(iter(sets))
  if wanted not in sets:
    raise errors.UserError(
      f"supervised.label_set {wanted!r} is not in data.label_sets: it has "
      f"{', '.join(sets)}"
    )
  values = sets[wanted].astype(np.int32)
  return Labelled(
    source=source,
    values=values,
    names=names[wanted],
    videos=np.arange(len(source), dtype=np.int32),
    truth=values,
    of_clips=lambda batch: values[batch["index"]],
  )


def _several(source, file: str) -> Labelled:
  labels = multilabel.load(file, source)

  def of_clips(batch):
    # Classes that occur while the clip lasts; where nothing tells when that
    # is (images, records of an older version), those of the whole video.
    found = []
    for row, (start, end) in zip(batch["index"], batch["span"], strict=True):
      known = end > start
      found.append(
        labels.during(row, start, end) if known else labels.targets[row]
      )
    return np.stack(found).astype(np.float32)

  return Labelled(
    source=source,
    values=labels.targets,
    names=labels.names,
    videos=np.arange(len(source), dtype=np.int32),
    truth=labels.targets,
    of_clips=of_clips,
  )


def _counted(source, file: str, settings: Settings, phases: int) -> Labelled:
  data = settings.data
  rows = repetitions.load(file, source.files)
  windows = Windows(source, rows, data.num_frames, data.stride, phases)
  return Labelled(
    source=windows,
    values=windows.counts,
    names=(),
    videos=windows.videos,
    truth=windows.totals,
    of_clips=lambda batch: windows.counts[batch["index"]],
  )
