"""A folder of videos in the place of a list: FOLDER/CLASS/.../video.mp4.

The folders directly below are the classes, if all videos are in them and there
are two or more; else videos have no labels. Where there are no video files,
each folder that holds pictures is one video, whose frames they are.
"""

import os
import sys
from collections.abc import Sequence

import numpy as np

from sigma_jax import errors
from sigma_jax.data.layouts import files
from sigma_jax.data.manifest import Manifest
from sigma_jax.data.video import frame_folder, stills

_SHOWN = 5  # names of many


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
    UserError: there are no videos, a folder cannot be listed, folders of frames
      lie in each other, or there are no classes, or not those of `names`, where
      they are needed.
  """
  found = sorted(_found(folder))
  # As full paths are sorted: the folder does not change the order.
  paths = tuple(
    folder if path == os.curdir else os.path.join(folder, path)
    for path in found
  )
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
      f"lacks: it has {_listed(names)}"
    )
  names = tuple(names or own)
  place = {name: index for index, name in enumerate(names)}
  labels = np.array([place[top] for top in tops], np.int32)
  return Manifest(folder, paths, labels, names)


def _found(folder: str) -> list[str]:
  """Videos below a folder, else folders of frames; relative to it."""
  videos, frames = [], []
  for parent, names in files.folders(folder):
    pictures = False
    for name in names:
      suffix = os.path.splitext(name)[1].lower()
      if suffix in files.VIDEOS:
        videos.append(os.path.relpath(os.path.join(parent, name), folder))
      elif suffix in stills.SUFFIXES:  # there may be millions: not looked at
        pictures = pictures or frame_folder.is_picture(name)
      else:
        files.warn_of_dead_link(os.path.join(parent, name))
    if pictures:
      frames.append(os.path.relpath(parent, folder))
  if not videos and not frames:
    raise errors.UserError(
      f"no videos in {folder} ({', '.join(files.VIDEOS)}), nor folders of "
      f"frames ({', '.join(stills.SUFFIXES)})"
    )
  if videos:
    return videos
  _check_apart(folder, frames)
  print(
    f"{folder}: {len(frames)} folders of pictures, each taken for the frames "
    "of one video; a list of pictures makes each of them a clip",
    file=sys.stderr,
    flush=True,
  )
  return frames


def _check_apart(folder: str, frames: list[str]) -> None:
  """Raises UserError where folders of pictures lie in each other."""
  known = set(frames)
  for path in frames:
    above = path
    while above and above != os.curdir:
      above = os.path.dirname(above) or os.curdir
      if above in known:
        raise errors.UserError(
          f"{os.path.normpath(os.path.join(folder, above))} holds pictures and "
          f"also a folder of pictures, {os.path.join(folder, path)}: which are "
          "videos? Name the folders in a list, one 'path label' a line"
        )


def _listed(names: Sequence[str]) -> str:
  return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
