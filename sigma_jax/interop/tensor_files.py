"""State dicts from files and folders, whichever way they are stored.

A file is PyTorch's or safetensors; a folder holds one of either, or several
with an index that says which tensor is where.
"""

import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from sigma_jax import errors
from sigma_jax.interop import foreign, state_dicts, torch_pickle

Note = Callable[[str], None]
Tensors = dict[str, np.ndarray]

SAFETENSORS, PYTORCH = "model.safetensors", "pytorch_model.bin"
# In the order in which transformers looks for them.
_FILES = (
  SAFETENSORS,
  SAFETENSORS + ".index.json",
  PYTORCH,
  PYTORCH + ".index.json",
)
_NAMED = 8  # of tensors in an error


def read(path: pathlib.Path, note: Note, weights: str = "") -> Tensors:
  """The state dict of a file, told apart by its ending, or of its shards.

  Args:
    path: .safetensors, .json for an index of shards, or anything else for what
      PyTorch saves.
    note: gets a line for whatever is not taken as it stands.
    weights: of `state_dicts.CHOICES`.

  Raises:
    UserError: not such a file, or a shard is missing.
  """
  if path.suffix == ".json":
    return _stripped(_sharded(path, note, weights), note, weights)
  if path.suffix == ".safetensors":
    return _stripped(foreign.read_safetensors(path), note, weights)
  return torch_pickle.load(path, note, weights)


def in_folder(folder: pathlib.Path) -> pathlib.Path | None:
  """The file of a folder that holds its weights or says where they are."""
  return next((folder / n for n in _FILES if (folder / n).is_file()), None)


def read_folder(folder: pathlib.Path, note: Note, weights: str = "") -> Tensors:
  """The state dict of a folder; as `read`.

  Raises:
    UserError: there are no weights in it, or a shard is missing.
  """
  file = in_folder(folder)
  if file is None:
    there = sorted(path.name for path in folder.iterdir())[:8]
    raise errors.UserError(
      f"no weights in {folder}: neither {' nor '.join(_FILES)}; it has "
      f"{', '.join(there)}"
    )
  return read(file, note, weights)


def _sharded(index: pathlib.Path, note: Note, weights: str) -> Tensors:
  try:
    where = foreign.read_json(index)["weight_map"]
    files = sorted(set(where.values()), key=str)
  except (KeyError, TypeError, AttributeError) as error:
    raise errors.UserError(f"{index} has no weight_map: {error}") from error
  tensors: Tensors = {}
  for name in files:
    # A name with a folder in it could lead anywhere.
    if not isinstance(name, str) or pathlib.PurePath(name).name != name:
      raise errors.UserError(f"{index} names {name!r}, no file beside it")
    path = index.parent / name
    if not path.is_file():
      raise errors.UserError(
        f"{index} names {name}, which is not in {index.parent}"
      )
    if path.suffix == ".safetensors":
      tensors |= foreign.read_safetensors(path)
    else:
      tensors |= torch_pickle.load(path, note, weights, strip=False)
  missing = sorted(set(where) - set(tensors))
  if missing:
    raise errors.UserError(
      f"{index} names tensors that no shard has: {_some(missing)}"
    )
  return tensors


def _stripped(tensors: Tensors, note: Note, weights: str) -> Tensors:
  names = state_dicts.strip(tensors, note, weights)
  return {new: tensors[old] for new, old in names.items()}


def check_finite(
  tensors: Iterable[tuple[str, np.ndarray]], source: str | pathlib.Path
) -> None:
  """Refuses weights that are NaN, infinite or no numbers as float32.

  Features of such a model are NaN too, and look like a result.

  Raises:
    UserError: names `source` and the tensors.
  """
  wrong = []
  for name, tensor in tensors:
    if tensor.dtype.kind in "iub":
      continue  # a counter: what has no place in a model is refused by name
    with np.errstate(over="ignore"):
      finite = np.isfinite(np.asarray(tensor, np.float32))
    count = finite.size - np.count_nonzero(finite)
    if count:
      wrong.append(f"{name} ({count} of {finite.size})")
  if wrong:
    raise errors.UserError(
      f"{source}: weights that are NaN or infinite, as of a run that diverged: "
      f"{_some(wrong)}; take an earlier checkpoint"
    )


def _some(names: list[str]) -> str:
  more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
  return ", ".join(names[:_NAMED]) + more
