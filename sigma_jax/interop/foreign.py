"""Strangers' files beside pickles: JSON, safetensors and .npz, with bounds."""

import json
import pathlib

import numpy as np

from sigma_jax import errors

_MAX_JSON_BYTES = 2**24
# An .npz may be compressed, but weights hardly are: what unpacks to more than
# ten times the file, and more than this, was made to fill the memory.
_FREE_BYTES, _MAX_RATIO = 2**26, 10


def read_json(path: pathlib.Path) -> dict:
  """A JSON object; raises UserError for anything else, naming the file."""
  try:
    if path.stat().st_size > _MAX_JSON_BYTES:
      raise ValueError(f"over {_MAX_JSON_BYTES} bytes")
    found = json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise errors.UserError(f"{path}: not JSON: {str(error)[:200]}") from error
  if not isinstance(found, dict):
    raise errors.UserError(f"{path}: not a JSON object")
  return found


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays by name; raises UserError, naming the file.

  The library itself holds the sizes that a file claims against the file.
  """
  from safetensors.numpy import load_file

  try:
    return load_file(path)
  except Exception as error:  # SafetensorError, KeyError for a strange dtype
    reason = f"{type(error).__name__}: {error}"[:200]
    raise errors.UserError(f"{path}: {reason}") from error


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays by name; raises UserError, naming the file.

  Neither pickled objects are read nor what unpacks to far more than the file.
  """
  try:
    # A file that np.load opens itself stays open where it is no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      claimed = sum(info.file_size for info in arrays.zip.infolist())
      if claimed > max(_FREE_BYTES, _MAX_RATIO * path.stat().st_size):
        raise ValueError(f"it claims {claimed} bytes, far more than the file")
      return dict(arrays)
  except Exception as error:  # NumPy's, zipfile's and zlib's; none for an .npy
    reason = f"{type(error).__name__}: {error}"[:200]
    raise errors.UserError(f"{path}: not a readable .npz: {reason}") from error
