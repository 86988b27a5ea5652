"""Real clips for the page, read the way the run reads them.

The one place of the report that touches `sigma_jax.data`, and so TensorFlow.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from sigma_jax import errors
from sigma_jax import settings as settings_lib

_BATCH = 32


class Clips(NamedTuple):
  """Validation clips.

  videos: uint8 [c, t, h, w, 3]. names: file names. captions: classes, or "".
  luma: as of `settings.Luma`, where the run's method asks for such frames.
  """

  videos: np.ndarray
  names: list[str]
  captions: list[str]
  luma: np.ndarray | None = None

  def batch(self, count: int) -> dict[str, np.ndarray]:
    """The first ones, as a method's step reads them."""
    found = {"video": self.videos, "luma": self.luma}
    return {name: x[:count] for name, x in found.items() if x is not None}


def load(
  settings: settings_lib.Settings,
  count: int,
  luma: settings_lib.Luma | None = None,
) -> Clips:
  """Up to `count` clips, evenly spaced over the validation split.

  Rows that cannot be read are left out.

  Args:
    settings: `data` is read.
    count: rows tried.
    luma: grey frames that the run's method asks for.

  Raises:
    UserError: no clip can be read; one line that says why.
  """
  try:
    from sigma_jax.data import manifest as manifest_lib
    from sigma_jax.data import pipeline, sources
  except ImportError as error:
    raise errors.UserError(
      f"clips need the data pipeline's packages: {error}"
    ) from error
  if not settings.data.val:
    raise errors.UserError("data.val is empty")
  data = settings.data
  rows = sources.load(
    data.val, data.root, classes=False, tar_labels=data.tar_labels
  )
  picked = np.unique(np.linspace(0, len(rows) - 1, count).astype(int))
  captions = _captions(manifest_lib, settings.data.label_sets, rows)
  few = sources.take(rows, picked)
  reasons: list[str] = []
  videos, grey, indices = [], [], []
  with pipeline.eval_batches(
    settings,
    few,
    batch_size=min(_BATCH, len(picked)),
    on_bad=lambda row, path, reason: reasons.append(f"{path}: {reason}"),
    luma=luma,
  ) as batches:
    for batch in batches:
      videos.append(batch["video"][batch["valid"]])
      grey += [batch["luma"][batch["valid"]]] if luma else []
      indices += batch["index"][batch["valid"]].tolist()
  if not indices:
    raise errors.UserError(
      f"none of the {len(picked)} clips tried can be read; the last one: "
      f"{reasons[-1]}"
    )
  return Clips(
    np.concatenate(videos),
    [pathlib.Path(few.files[i]).name for i in indices],
    [captions[picked[i]] for i in indices],
    np.concatenate(grey) if luma else None,
  )


def _captions(manifest_lib, path: str, rows) -> list[str]:
  """The classes' names of every row; empty where they cannot be read.

  Their numbers, where the names are of other data.
  """
  if classes := getattr(rows, "classes", ()):  # names in place of numbers
    return [classes[label] for label in rows.labels]
  try:
    path = path if manifest_lib.are_of(path, rows.path) else ""
    labels, names = manifest_lib.load_label_sets(path, rows)
  except (ValueError, OSError):  # names are an ornament here
    return [""] * len(rows)
  if list(names) == ["label"]:
    return [f"label {label}" for label in rows.labels]
  return [
    ", ".join(names[key][labels[key][row]] for key in names)
    for row in range(len(rows))
  ]
