"""Where imports and exports may write: over no run, nor what they read.

A run's folder and a transformers folder both have a file config.json, so one
written into the other makes it unreadable.
"""

import json
import os
import pathlib

from sigma_jax import errors, files
from sigma_jax.interop import hugging_face
from sigma_jax.train import workdir as workdir_lib

# What an imported workdir has beside a run's files: where it comes from.
IMPORTED = "imported.json"
_CHECKPOINTS = "checkpoints"
_HALF = ".orbax-checkpoint-tmp"  # in the name of one that is being written
# How files of PyTorch begin: zip archives, and the older pickles.
_TORCH = (b"PK\x03\x04", b"\x80")


def is_run(folder: pathlib.Path) -> bool:
  """Whether it is a run's workdir, begun or imported."""
  if (folder / _CHECKPOINTS).is_dir():
    return True
  config = folder / workdir_lib.CONFIG
  try:
    found = json.loads(config.read_text())
  except (OSError, ValueError):
    return False
  return isinstance(found, dict) and {"data", "model", "train"} <= set(found)


def check_workdir(
  workdir: str | pathlib.Path, source: str | pathlib.Path
) -> None:
  """Refuses to import into what holds something else.

  An import that broke off may be done again.

  Raises:
    UserError: it is a run, a transformers folder, a file, or the source.
  """
  folder = workdir_lib.path(workdir)
  if folder.exists() and not folder.is_dir():
    raise errors.UserError(f"{folder} is a file; choose a new folder")
  if folder.exists() and _same(folder, source):
    raise errors.UserError(f"{folder} is what is read; choose a new folder")
  checkpoints, broke_off = folder / _CHECKPOINTS, (folder / IMPORTED).exists()
  if checkpoints.is_dir() and any(
    not (broke_off and _HALF in path.name) for path in checkpoints.iterdir()
  ):
    raise errors.UserError(
      f"{folder} already holds checkpoints; choose a new folder"
    )
  config = folder / workdir_lib.CONFIG
  if config.exists() and not (is_run(folder) and broke_off):
    kind = "transformers folder" if not is_run(folder) else "run"
    raise errors.UserError(
      f"{config} is there already, of a {kind}; choose a new folder"
    )


def check_export(
  out: str | pathlib.Path, kind: str, source: str | pathlib.Path = ""
) -> None:
  """Refuses to export over a run, over what is read or over another file.

  Args:
    out: a .pth, or a folder for transformers.
    kind: "pth" or "hf".
    source: what is exported.

  Raises:
    UserError: says what is there.
  """
  out = pathlib.Path(out)
  if source and out.exists() and _same(out, source):
    raise errors.UserError(f"{out} is what is read; choose another place")
  place = out.resolve()
  for folder in (place, *place.parents):
    inside = place.relative_to(folder).parts[:1]
    if inside in ((), (_CHECKPOINTS,)) and is_run(folder):
      raise errors.UserError(
        f"{out} belongs to the run in {folder}, which could not be read or "
        "resumed then; choose another place"
      )
  (_check_folder if kind == "hf" else _check_file)(out)


def _same(one: pathlib.Path, other: str | pathlib.Path) -> bool:
  """Whether two paths, of which the first exists, are one file or folder."""
  if files.is_remote(one) or files.is_remote(other):
    return str(one) == str(workdir_lib.path(other))
  return pathlib.Path(other).exists() and os.path.samefile(one, other)


def _check_folder(out: pathlib.Path) -> None:
  if out.exists() and not out.is_dir():
    raise errors.UserError(f"{out} is a file; transformers needs a folder")
  config = out / hugging_face.CONFIG
  if config.exists() and not hugging_face.is_folder(out):
    raise errors.UserError(
      f"{config} is there already, and not transformers'; choose another folder"
    )


def _check_file(out: pathlib.Path) -> None:
  if out.is_dir():
    raise errors.UserError(f"{out} is a folder; name a file in it")
  if out.is_file():
    with out.open("rb") as file:
      if not file.read(4).startswith(_TORCH):
        raise errors.UserError(
          f"{out} is there already and not PyTorch's; choose another name"
        )
