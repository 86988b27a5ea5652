"""Videos as folders of frames with masks: DAVIS, YouTube-VOS.

A list of them is a text file with one JSON object a line,
`{"name": ..., "frames": [...], "masks": [...]}`; relative paths are taken from
the list's folder, and a mask may be null.
"""

import dataclasses
import json
import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from sigma_jax import errors
from sigma_jax.data import origins, storage

_LAYOUT = (
  "JPEGImages/[480p/]SEQUENCE/*.jpg and Annotations/[480p/]SEQUENCE/*.png"
)


@dataclasses.dataclass(frozen=True)
class Sequence:
  """One video.

  Attributes:
    name: such as blackswan.
    frames: n image files, in time.
    masks: n mask files; None where a frame is not annotated.
  """

  name: str
  frames: tuple[str, ...]
  masks: tuple[str | None, ...]


def load(path: str) -> tuple[Sequence, ...]:
  """Sequences of a list, or all of a folder in DAVIS's or YouTube-VOS's layout.

  No image is opened.

  Args:
    path: the list, or a folder that holds JPEGImages and Annotations.

  Raises:
    FileNotFoundError: there is no such file or folder.
    UserError: it is neither, or a frame or mask is missing. One line.
  """
  if os.path.isdir(path):
    return _load_folder(path)
  if not os.path.isfile(path):
    usual = f"it has to be a list of sequences or a folder of {_LAYOUT}"
    how = origins.hint(path) or usual
    raise FileNotFoundError(f"{path!r} does not exist; {how}")
  found = []
  with open(path, encoding="utf-8", errors="surrogateescape") as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        where = f"sequences {path}, line {number}"
        found.append(_parse(line, os.path.dirname(path), where))
  if not found:
    raise errors.UserError(f"sequences {path}: the list is empty")
  return tuple(found)


def save(path: str, sequences: Iterable[Sequence]) -> None:
  """Writes a list; paths in it are absolute."""
  lines = []
  for one in sequences:
    masks = [m if m is None else os.path.abspath(m) for m in one.masks]
    frames = [os.path.abspath(frame) for frame in one.frames]
    row = {"name": one.name, "frames": frames, "masks": masks}
    lines.append(json.dumps(row) + "\n")
  storage.write(path, "".join(lines).encode())


def in_folders(
  frames: str, masks: str, names: Iterable[str]
) -> tuple[Sequence, ...]:
  """Sequences `frames/NAME/*.jpg` with `masks/NAME/*.png`.

  Raises:
    UserError: a folder is missing or empty, a mask has no frame, or a sequence
      no mask.
  """
  return tuple(_in_folder(frames, masks, name) for name in names)


def read_mask(path: str) -> np.ndarray:
  """Label ids of one mask.

  Palette images hold the ids themselves; in black and white ones (DAVIS 2016),
  whether stored as grey or as colours, white is 1.

  Returns:
    uint8 [h, w]; 0 is background.

  Raises:
    UserError: it cannot be read, or is a picture and no mask. One line.
  """
  try:
    with Image.open(path) as image:
      image.load()
      mode, values = image.mode, np.asarray(image)
  except Exception as error:  # Pillow raises OSError, SyntaxError and others
    raise errors.UserError(f"cannot read mask {path}: {error}") from error
  if mode in ("RGB", "RGBA") and not np.ptp(values[..., :3], axis=2).any():
    mode, values = "L", values[..., 0]
  if mode not in ("1", "L", "P"):
    raise errors.UserError(
      f"mask {path} is of mode {mode}; a mask is a palette or grey image"
    )
  ids = values.astype(np.uint8)
  if mode == "L" and not set(np.unique(ids)) - {0, 255}:
    ids = (ids > 0).astype(np.uint8)
  return ids


def _load_folder(root: str) -> tuple[Sequence, ...]:
  for below in ("480p", ""):
    frames, masks = (
      os.path.join(root, kind, below) for kind in ("JPEGImages", "Annotations")
    )
    if os.path.isdir(frames):
      names = sorted(e.name for e in os.scandir(frames) if e.is_dir())
      if names:
        return in_folders(frames, masks, names)
  raise errors.UserError(f"{root!r} is not laid out as {_LAYOUT}")


def _in_folder(frames: str, masks: str, name: str) -> Sequence:
  pictures = _stems(os.path.join(frames, name), (".jpg", ".jpeg"))
  annotated = _stems(os.path.join(masks, name), (".png",))
  stray = sorted(set(annotated) - set(pictures))
  if stray:
    raise errors.UserError(
      f"mask {annotated[stray[0]]} has no frame {stray[0]}.jpg in "
      f"{os.path.join(frames, name)}"
    )
  stems = sorted(pictures)
  return Sequence(
    name,
    tuple(pictures[stem] for stem in stems),
    tuple(annotated.get(stem) for stem in stems),
  )


def _stems(folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
  """File name without suffix -> path, of all such files; at least one."""
  found = {}
  if os.path.isdir(folder):
    for entry in os.scandir(folder):
      stem, suffix = os.path.splitext(entry.name)
      if suffix.lower() in suffixes:
        found[stem] = entry.path
  if not found:
    raise errors.UserError(
      f"no {' or '.join('*' + s for s in suffixes)} in {folder!r}; expected "
      f"{_LAYOUT}"
    )
  return found


def _parse(line: str, folder: str, where: str) -> Sequence:
  try:
    row = json.loads(line)
    name, frames, masks = row["name"], row["frames"], row["masks"]
    paths = [
      [p and os.path.join(folder, p) for p in ps] for ps in (frames, masks)
    ]
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f'{where}: needs {{"name": ..., "frames": [...], "masks": [...]}}'
    ) from error
  if not frames or None in frames or len(frames) != len(masks):
    raise errors.UserError(
      f"{where}: {len(frames)} frames and {len(masks)} masks; each frame needs "
      "a mask or null"
    )
  for path in filter(None, (*paths[0], *paths[1])):
    if not os.path.isfile(path):
      raise errors.UserError(f"{where}: no such file: {path}")
  return Sequence(str(name), tuple(paths[0]), tuple(paths[1]))
