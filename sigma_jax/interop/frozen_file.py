"""The file of a frozen network that an option names."""

import pathlib

import numpy as np

from sigma_jax import errors
from sigma_jax.interop import foreign, tensor_files
from sigma_jax.interop.model import say


def read(weights: str, option: str, wanted: str) -> dict[str, np.ndarray]:
  """All arrays of a weights file, by the names they have in it.

  Args:
    weights: a .pth (.pt, .bin) file, a .safetensors file, the folder that
      holds either (`tensor_files.read_folder`), or an .npz file.
    option: whose value that is, for messages.
    wanted: what is expected there, for messages.

  Raises:
    UserError: no such file, or not a format known.
  """
  if not weights:
    raise errors.UserError(f"{option} is not set; {wanted}")
  path = pathlib.Path(weights)
  if path.is_dir():
    path = tensor_files.in_folder(path) or path / tensor_files.SAFETENSORS
  if not path.is_file():
    raise errors.UserError(f"{option}: no file {str(path)!r}; {wanted}")
  reader = _READERS.get(path.suffix)
  if reader is None:
    raise errors.UserError(
      f"{option}: {str(path)!r} must end in one of {', '.join(_READERS)}; "
      f"{wanted}"
    )
  try:
    return reader(path)
  except errors.UserError as error:
    raise errors.UserError(f"{option}: {error}") from error


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  return tensor_files.read(path, say)


_READERS = {
  ".pth": _read,
  ".pt": _read,
  ".bin": _read,
  ".safetensors": _read,
  ".json": _read,  # the index of a folder's shards
  ".npz": foreign.read_npz,
}
