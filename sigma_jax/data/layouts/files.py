"""Finding a data set's files by name, and opening its annotations."""

import json
import os
import pathlib
import sys
from collections.abc import Iterator

from sigma_jax import errors

VIDEOS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg")
IMAGES = (".jpeg", ".jpg", ".png")
# CVDF's repaired Kinetics files stand in a folder of this name beside the
# damaged ones.
_REPAIRED = "replacement"


def folder(path: str, what: str) -> str:
  """`path`, once it is sure to be a folder; `what` says what it should hold.

  Raises:
    UserError: it is not there, or not a folder.
  """
  if not os.path.isdir(path):
    problem = "is not a folder" if os.path.exists(path) else "does not exist"
    raise errors.UserError(f"{path!r} {problem}; it has to hold {what}")
  return path


def annotation(root: str, *names: str) -> str:
  """The annotation file of one of these names, in `root` or one folder below.

  Raises:
    UserError: there is none, or several that could be meant.
  """
  path = optional_annotation(root, *names)
  if path is None:
    raise errors.UserError(
      f"no {' or '.join(names)} in {root!r}; it is one of the official "
      "annotation files"
    )
  return path


def optional_annotation(root: str, *names: str) -> str | None:
  """As `annotation`, but None if there is no such file."""
  folder(root, f"the annotations, {' or '.join(names)}")
  wanted = {name.lower() for name in names}
  for pattern in ("*", "*/*"):
    found = [
      str(path)
      for path in sorted(pathlib.Path(root).glob(pattern))
      if path.name.lower() in wanted and path.is_file()
    ]
    if len(found) > 1:
      raise errors.UserError(
        f"{root!r} holds several annotation files of one kind: "
        f"{', '.join(found)}; leave only one of them there"
      )
    if found:
      return found[0]
  return None


def lines(path: str) -> Iterator[tuple[str, str]]:
  """Lines that are not blank, stripped, each after "FILE, line N"."""
  try:
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
      for number, line in enumerate(file, 1):
        if line.strip():
          yield f"{path}, line {number}", line.strip()
  except OSError as error:
    raise errors.UserError(f"cannot read {path}: {error.strerror}") from error


def read_json(path: str, kind: type):
  """Content of a JSON file, which has to be a `kind` (list or dict)."""
  try:
    with open(path, encoding="utf-8-sig") as file:
      content = json.load(file)
  except OSError as error:
    raise errors.UserError(f"cannot read {path}: {error.strerror}") from error
  except ValueError as error:  # JSON and UTF-8 errors alike
    raise errors.UserError(f"{path}: not JSON: {error}") from error
  if not isinstance(content, kind):
    wanted = {list: "list", dict: "object"}[kind]
    raise errors.UserError(f"{path}: has to hold a JSON {wanted}")
  return content


def walk(root: str, suffixes: tuple[str, ...]) -> Iterator[str]:
  """Paths below root, relative to it, of the files with these suffixes.

  Links are followed, each folder once. The order is that of sorted names. A
  link that leads nowhere is warned of, unless it has such a suffix: then it is
  one of the files, and whoever reads it will say so.

  Raises:
    UserError: a folder cannot be listed.
  """
  for parent, names in folders(root):
    for name in names:
      path = os.path.join(parent, name)
      if os.path.splitext(name)[1].lower() in suffixes:
        yield os.path.relpath(path, root)
      else:
        warn_of_dead_link(path)


def warn_of_dead_link(path: str) -> None:
  """Says on stderr that a path is a link that leads nowhere, if it is one."""
  if os.path.islink(path) and not os.path.exists(path):
    print(
      f"warning: {path} is a link to {os.readlink(path)!r}, which is not "
      "there: what is behind it is left out",
      file=sys.stderr,
      flush=True,
    )


def folders(root: str) -> Iterator[tuple[str, list[str]]]:
  """Root and the folders below it, and the sorted names of their files.

  Links are followed, each folder once.

  Raises:
    UserError: a folder cannot be listed.
  """
  seen = set()
  for parent, below, names in os.walk(root, followlinks=True, onerror=_stop):
    status = os.stat(parent)
    if (status.st_dev, status.st_ino) in seen:
      below.clear()
      continue
    seen.add((status.st_dev, status.st_ino))
    below.sort()
    yield parent, sorted(names)


def _stop(error: OSError) -> None:
  raise errors.UserError(
    f"cannot list folder {error.filename}: {error.strerror}"
  ) from error


class Index:
  """Files below a folder by their names without suffix.

  Attributes:
    root: the folder.
    ambiguous: names asked for that several different files have.
  """

  def __init__(
    self,
    root: str,
    suffixes: tuple[str, ...] = VIDEOS,
    *,
    fold_case: bool = False,
  ):
    """Lists the files.

    Args:
      root: folder.
      suffixes: of the files that count, in lower case.
      fold_case: whether `A` and `a` are the same name.

    Raises:
      UserError: no folder, or no such file in it.
    """
    self.root = folder(root, f"the files ({', '.join(suffixes)})")
    self.ambiguous: list[str] = []
    self._key = str.lower if fold_case else str
    self._paths: dict[str, list[str]] = {}
    for path in walk(root, suffixes):
      stem = os.path.splitext(os.path.basename(path))[0]
      self._paths.setdefault(self._key(stem), []).append(path)
    if not self._paths:
      raise errors.UserError(
        f"{root!r} holds no file that ends in {', '.join(suffixes)}, at any "
        "depth"
      )

  def find(self, name: str, hints: tuple[str, ...] = ()) -> str | None:
    """Path relative to root of the file `name`, None if there is none.

    Args:
      name: without folders and suffix.
      hints: names of folders that it probably lies in, for choosing where
        several files have the name; spaces and underscores are the same.
    """
    paths = self._paths.get(self._key(name))
    if paths is None:
      return None
    if len(paths) == 1:
      return paths[0]
    wanted = {_plain(hint) for hint in hints}
    scores = [_score(path, wanted) for path in paths]
    best = [p for p, s in zip(paths, scores, strict=True) if s == max(scores)]
    if len({os.path.realpath(os.path.join(self.root, p)) for p in best}) > 1:
      self.ambiguous.append(name)
    return best[0]

  def example(self) -> str:
    """One of the files, for messages."""
    return next(iter(self._paths.values()))[0]


def _score(path: str, wanted: set[str]) -> tuple[bool, int]:
  parts = [_plain(part) for part in pathlib.PurePath(path).parts[:-1]]
  repaired = any(part.startswith(_REPAIRED) for part in parts)
  return repaired, sum(part in wanted for part in parts)


def _plain(name: str) -> str:
  return name.lower().replace(" ", "_")
