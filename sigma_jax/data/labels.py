"""What supervised training learns of each row: classes, several, or a count."""

import dataclasses
import hashlib
import json
from collections.abc import Callable

import numpy as np

from sigma_jax import errors
from sigma_jax.data import manifest, sources, splits, storage
from sigma_jax.data.annotations import multilabel, repetitions
from sigma_jax.data.annotations.windows import Windows
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

  Of a head that is tested as it is, `supervised.head`, both are `data.val`.

  Whatever the test needs of the files of targets is looked at here, before the
  training.

  Raises:
    FileNotFoundError, UserError: see the formats' own modules; or a file is in
      both, test files are missing, the training rows are all of one class or
      share none with the test rows, or the metric is not defined on those. One
      line.
  """
  if settings.supervised.head:
    val = _load(settings, "val")
    return val, val
  train = _load(settings, "train")
  val = _load(settings, "val", splits.class_names(train.source))
  splits.check_alike(train.source, val.source)
  splits.check_disjoint(train.source, val.source)
  if settings.supervised.targets == "classes":
    name = settings.supervised.label_set or "label"
    splits.check_classes(train.source.path, name, train.values)
    _check_shared(train, val, name)
  elif len(train.names) != len(val.names):
    raise errors.UserError(
      f"{train.source.path} has {len(train.names)} classes, {val.source.path} "
      f"{len(val.names)}"
    )
  _check_defined(val)
  if settings.supervised.targets == "multilabel":
    _check_shared(train, val, "supervised.train_targets")
  # Without label sets each split knows the classes that it has itself.
  names = max(train.names, val.names, key=len)
  return (
    dataclasses.replace(train, names=names),
    dataclasses.replace(val, names=names),
  )


def _load(
  settings: Settings, split: str, names: tuple[str, ...] = ()
) -> Labelled:
  path = settings.data.train if split == "train" else settings.data.val
  if not path:
    raise errors.UserError(
      f"data.{split} is not set: it names the {split} split"
    )
  options = settings.supervised
  # Counts go by the files' names, whatever their labels.
  classes = options.targets != "count"
  source = sources.load(
    path,
    settings.data.root,
    classes,
    names,
    tar_labels=settings.data.tar_labels,
  )
  if split == "val" and isinstance(source, sources.Files):
    splits.check_present(split, source, settings.data.max_bad_share)
  file = options.train_targets if split == "train" else options.val_targets
  if options.targets == "multilabel":
    return _several(source, file)
  if options.targets == "count":
    return _counted(source, file, settings, _PHASES if split == "train" else 1)
  return _classes(source, settings)


def identity(labelled: Labelled, file: str = "") -> str:
  """Sixteen hex digits that change with what any row is to give.

  Args:
    labelled: the split.
    file: that its targets are of, beside the manifest; empty: none.
  """
  digest = hashlib.sha256(json.dumps(labelled.names).encode())
  digest.update(np.ascontiguousarray(labelled.values).tobytes())
  if file:  # it also says when in a video
    digest.update(storage.read(file))
  return digest.hexdigest()[:16]


def held_out(
  labelled: Labelled, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Rows to train on and rows to choose by; a video's rows stay together.

  Where a video has one class, the last one of a class is trained on.

  Returns:
    Two sorted int arrays; both have rows of one video or more.

  Raises:
    UserError: there is no video to spare.
  """
  videos = np.unique(labelled.videos)
  order = np.random.default_rng(seed).permutation(videos)
  count = min(max(round(share * len(videos)), 1), len(videos) - 1)
  if labelled.names and labelled.values.ndim == 1:
    order = _to_spare(order, labelled.truth)
  if not len(order[:count]):
    raise errors.UserError(
      f"{labelled.source.path} has one video, or one of each class: none can "
      "be held out to choose among supervised.rates; give one rate"
    )
  chosen = np.isin(labelled.videos, order[:count])
  return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _to_spare(order: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """Videos, in this order, without the last one of each class.

  Args:
    order: int [n], videos.
    classes: int, indexed by video.
  """
  last = {classes[video]: video for video in order}
  return np.array([v for v in order if last[classes[v]] != v], order.dtype)


def _check_shared(train: Labelled, val: Labelled, name: str) -> None:
  splits.check_shared(
    train.source.path, val.source.path, name, train.values, val.values
  )


def _check_defined(val: Labelled) -> None:
  """Refuses test rows on which their metric is not defined."""
  path = val.source.path
  if not val.names and not (val.truth > 0).all():
    row = int(np.flatnonzero(~(val.truth > 0))[0])
    file = val.source.files[int(np.flatnonzero(val.videos == row)[0])]
    raise errors.UserError(
      f"{path}: {file} has {val.truth[row]:g} repetitions; the counting error "
      "is relative to them, so take test videos with one or more"
    )
  if val.values.ndim == 2 and not val.truth.any():
    raise errors.UserError(
      f"{path}: no test video has any class in supervised.val_targets; there "
      "is no average precision"
    )


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
