"""The folder of one checkpoint, read; for `storage_faults.patiently` to repeat.

By Orbax's handlers alone: its managers wait for the other processes in between,
and one that meets an error would keep them waiting.
"""

import contextlib
import json
from typing import Any

import jax
import orbax.checkpoint as ocp

from sigma_jax import errors
from sigma_jax.train import checksums


def entries(folder) -> list[str]:
  """Names in a folder; [] where there is none."""
  try:
    return [path.name for path in folder.iterdir()]
  except FileNotFoundError:
    return []


def steps(folder) -> list[int]:
  """Steps of the complete checkpoints in a folder; [] where there is none.

  Asked of the disk, which a run may be writing to at this moment.
  """
  for _ in range(4):
    # One may be renamed or removed between Orbax's two looks at it.
    with contextlib.suppress(FileNotFoundError, ValueError):
      return sorted(ocp.path.step.checkpoint_steps(folder))
  return sorted(ocp.path.step.checkpoint_steps(folder))


def arrays(folder, abstract: Any) -> Any:
  """Its arrays, placed as `abstract`'s shardings say."""
  with contextlib.closing(ocp.StandardCheckpointHandler()) as reader:
    return reader.restore(
      folder / "default", args=ocp.args.StandardRestore(abstract)
    )


def metadata(folder) -> Any:
  """The checkpoint's own list of its arrays, as a tree."""
  with contextlib.closing(ocp.StandardCheckpointHandler()) as reader:
    return reader.metadata(folder / "default").tree


def sums(folder) -> dict[str, int] | None:
  """What `checksums.of` gave; None in checkpoints from before it."""
  if "checksums" not in entries(folder):
    return None
  return json.loads((folder / "checksums" / "metadata").read_text())


def at(tree: Any, path: tuple, value: Any) -> Any:
  """The tree with another value there, and dicts where it has nothing."""
  if not path:
    return value
  first, *rest = path
  if isinstance(tree, list):
    return [
      at(part, tuple(rest), value) if place == first else part
      for place, part in enumerate(tree)
    ]
  return tree | {first: at(tree.get(first, {}), tuple(rest), value)}


def refuse_another_model(folder, listed: Any, abstract: Any) -> None:
  """Raises UserError naming arrays that are missing, surplus or of another
  shape.

  Args:
    folder: of the checkpoint.
    listed: its own list of its arrays, from `metadata`.
    abstract: what it should hold.
  """
  there, here = _shapes(listed), _shapes(abstract)
  differing = [
    f"{name} ({there.get(name, 'missing')} there, {here.get(name, 'missing')} "
    "here)"
    for name in sorted(there.keys() | here.keys())
    if there.get(name) != here.get(name)
  ]
  if differing:
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    raise errors.UserError(
      f"{folder} is of another model or optimiser: {', '.join(differing[:5])}"
      f"{more}; choose another --workdir or restore the settings"
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  return {
    checksums.name_of(path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if hasattr(leaf, "shape")
  }
