"""Which tar files a path means: one, a folder, a pattern, or numbers in braces.

`shards-{000000..000123}.tar` is bash's and WebDataset's notation; a pattern is
`shards-*.tar`.
"""

import itertools
import os
import re

from sigma_jax import errors
from sigma_jax.data import storage
from sigma_jax.data.layouts import files

SUFFIX = ".tar"
_COMPRESSED = (
  *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
  *(".tar.zst", ".tar.lz4"),
)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MOST = 1_000_000  # tars; more numbers in braces are a slip of the hand


def are_meant(path: str) -> bool:
  """Whether a path names tars: by its name, or as a folder that holds some.

  Raises:
    UserError: they are compressed; or the folder holds videos too.
  """
  if path.lower().endswith(_COMPRESSED):
    _refuse_compressed(path)
  if path.lower().endswith(SUFFIX):
    return not storage.is_dir(path)
  if not storage.is_dir(path):
    return False
  names = storage.names(path)
  if not any(name.lower().endswith(SUFFIX) for name in names):
    _refuse_only_compressed(path, names)
    return False
  video = None
  if not storage.is_remote(path):
    video = next(files.walk(path, files.VIDEOS), None)
  if video is not None:
    raise errors.UserError(
      f"folder {path} holds tar shards and also {video}: name the shards with "
      f"{os.path.join(path, '*.tar')}, or a folder of the videos alone"
    )
  return True


def of(path: str) -> tuple[str, ...]:
  """The tars that a path means, in their order.

  Args:
    path: one for which `are_meant`.

  Returns:
    Their paths: as the braces count, else sorted.

  Raises:
    FileNotFoundError, UserError: there are none, or some of them are missing.
  """
  if path.lower().endswith(SUFFIX):
    if _BRACES.search(path):
      found = _counted(path)
    elif set(path) & set("*?[") and not storage.is_file(path):
      found = tuple(storage.matching(path))
    else:
      found = (path,)
  else:
    found = tuple(
      os.path.join(path, name)
      for name in sorted(storage.names(path))
      if name.lower().endswith(SUFFIX)
    )
  if not found:
    raise FileNotFoundError(f"no tar file matches {path!r}")
  return found


def _counted(path: str) -> tuple[str, ...]:
  """The names that braces stand for, the last ones counting fastest."""
  literal = _BRACES.split(path)[::2]
  choices = [_choices(inside, path) for inside in _BRACES.findall(path)]
  count = 1
  for choice in choices:
    count *= len(choice)
  if count > _MOST:
    raise errors.UserError(f"{path!r} stands for {count} tar files: too many")
  return tuple(
    "".join(a + b for a, b in zip(literal, (*chosen, ""), strict=True))
    for chosen in itertools.product(*choices)
  )


def _choices(inside: str, path: str) -> list[str] | range:
  """What one pair of braces stands for: 000..123, or a,b,c."""
  if "," in inside:
    return inside.split(",")
  match = _RANGE.fullmatch(inside)
  if not match or int(match[1]) > int(match[2]):
    raise errors.UserError(
      f"{path!r}: {{{inside}}} is no range of numbers; write {{000000..000123}}"
      ", the lower one first, or {a,b}"
    )
  first, last = int(match[1]), int(match[2])
  if last - first >= _MOST:
    return range(first, last + 1)  # refused by its length
  # As bash does it: leading zeros ask for one width.
  padded = any(text[0] == "0" and len(text) > 1 for text in match.groups())
  width = max(map(len, match.groups())) if padded else 0
  return [f"{number:0{width}}" for number in range(first, last + 1)]


def _refuse_only_compressed(folder: str, names: list[str]) -> None:
  """Raises UserError where a folder's files are compressed tars."""
  packed = [name for name in names if name.lower().endswith(_COMPRESSED)]
  if packed and len(packed) == len(names):
    _refuse_compressed(os.path.join(folder, min(packed)))


def _refuse_compressed(path: str) -> None:
  raise errors.UserError(
    f"{path} is a compressed tar: no video in it can be read without "
    "unpacking all before it; uncompress it (gunzip makes a .tar of a .tar.gz) "
    "and name that"
  )
