"""A folder of videos in the place of a list: FOLDER/CLASS/.../video.mp4.

The folders directly below are the classes, if all videos are in them and there
are two or more; else videos have no labels.
"""

import os
from collections.abc import Sequence

import numpy as np

from sigma_jax import errors
from sigma_jax.data import list_labels
from sigma_jax.data.layouts import files
from sigma_jax.data.manifest import Manifest


def load(
  folder: str, classes: bool = False, names: Sequence[str] = ()
) -> Manifest:
  """The videos of a folder, at any depth; links are followed.

  Args:
    folder: a local one.
    classes: whether labels are used as classes, and so have to be there.
    names: the classes that labels count in, of the training split for the test
      split; (): the folder's own, sorted.

  Returns:
    The videos by path. Labels are places in `classes`; where all class folders
    are numbers, as in lists, they are those numbers, and `classes` is empty.

  Raises:
    UserError: there are no videos, a folder cannot be listed, or there are no
      classes, or not those of `names`, where they are needed.
  """
  found = sorted(files.walk(folder, files.VIDEOS))
  if not found:
    raise errors.UserError(f"no videos in {folder} ({', '.join(files.VIDEOS)})")
  # As full paths are sorted: the folder does not change the order.
  paths = tuple(os.path.join(folder, path) for path in found)
  tops = [path.split(os.sep, 1)[0] for path in found]
  own = sorted(set(tops))
  if len(own) < 2 or not all(os.sep in path for path in found):
    if classes:
      raise errors.UserError(
        f"{folder} has no class folders, two or more with all videos in them: "
        "make them, or name a list with one 'path label' a line"
      )
    return Manifest(folder, paths, np.full(len(paths), -1, np.int32))
  if all(name.isascii() and name.isdecimal() for name in own) and not names:
    return Manifest(folder, paths, np.array(list(map(int, tops)), np.int32))
  strange = sorted(set(own) - set(names)) if names else []
  if strange:
    raise errors.UserError(
      f"{folder} has the class folder {strange[0]!r}, which the training split "
      f"lacks: it has {list_labels.listed(names)}"
    )
  names = tuple(names or own)
  place = {name: index for index, name in enumerate(names)}
  labels = np.array([place[top] for top in tops], np.int32)
  return Manifest(folder, paths, labels, names)
