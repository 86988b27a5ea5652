"""PyTorch's .pth files, read without PyTorch (torch_writer.py writes them).

A .pth file is a pickle, and a pickle is a program: unpickling a stranger's
file with the usual means runs what it says. Here only the handful of globals
that state dicts consist of is known, and what training scripts keep beside
them; any other ends the reading with an error that names it. No global is ever
fetched and nothing is called: see `inert_pickle`.

Format: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
(zip archives since PyTorch 1.6; one stream of pickles before).
"""

import contextlib
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from sigma_jax import errors
from sigma_jax.interop import (
  beside,
  inert_pickle,
  state_dicts,
  torch_archive,
)

STORAGES = {
  "DoubleStorage": np.dtype(np.float64),
  "FloatStorage": np.dtype(np.float32),
  "HalfStorage": np.dtype(np.float16),
  "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "LongStorage": np.dtype(np.int64),
  "IntStorage": np.dtype(np.int32),
  "ShortStorage": np.dtype(np.int16),
  "CharStorage": np.dtype(np.int8),
  "ByteStorage": np.dtype(np.uint8),
  "BoolStorage": np.dtype(np.bool_),
}
_CONVERT = (
  "on a machine with PyTorch, load it and save the state dict alone: "
  "torch.save(torch.load(path)['model'], 'new.pth')"
)


def load(
  path: str | pathlib.Path,
  note: Callable[[str], None] = lambda line: None,
  weights: str = "",
  *,
  strip: bool = True,
) -> dict[str, np.ndarray]:
  """Reads the state dict of a .pth file; nothing in the file is executed.

  Args:
    path: a zip .pth, or the stream of pickles from before PyTorch 1.6.
    note: called with one line for whatever is not taken as it stands: the key
      under which the state dict was found, prefixes that were stripped.
    weights: of `state_dicts.CHOICES`: which, where there is an average too.
    strip: whether wrappers' prefixes go; no, of a part of a state dict.

  Returns:
    Contiguous arrays by name, dtypes as stored (bfloat16: ml_dtypes').

  Raises:
    UserError: no such file, not a .pth, a global that state dicts do not need
      (named), a damaged tensor, or no state dict in it.
  """
  path = pathlib.Path(path)
  with _reading(path) as archive:
    content = archive.content.value
    calls = state_dicts.find(content, _is_tensor, note, weights)
    tensors = {name: _tensor(call) for name, call in calls.items()}
    arrays = _read(tensors, archive, path.stat().st_size)
    names = {name: name for name in arrays}
    if strip:
      names = state_dicts.strip(arrays, note)
  return {new: arrays[old] for new, old in names.items()}


def text(path: str | pathlib.Path, key: str) -> str | None:
  """A text that a .pth file has beside its state dict; None where not.

  Raises:
    UserError: as `load`.
  """
  with _reading(pathlib.Path(path)) as archive:
    content = archive.content.value
    found = content.get(key) if isinstance(content, dict) else None
  return found if isinstance(found, str) else None


@contextlib.contextmanager
def _reading(path: pathlib.Path):
  """The open file; whatever is wrong with it becomes a UserError."""
  if not path.is_file():
    raise errors.UserError(f"no such file: {path}")
  try:
    sizes = {name: dtype.itemsize for name, dtype in STORAGES.items()}
    with torch_archive.reading(path, _KNOWN, sizes) as archive:
      yield archive
  except errors.UserError as error:
    raise errors.UserError(
      f"{path}: {error}. If you trust the file, {_CONVERT}"
    ) from error
  except Exception as error:  # a damaged pickle can fail in any way
    reason = f"{type(error).__name__}: {error}"[:200]
    raise errors.UserError(
      f"{path} is not a readable .pth file ({reason}); {_CONVERT}"
    ) from error


class _Tensor(NamedTuple):
  """A tensor as its pickle has it: elements of a storage. Hashable."""

  storage: torch_archive.Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
# Calls around one that makes a tensor, which is their first argument.
_PARAMETERS = (
  ("torch._utils", "_rebuild_parameter"),
  ("torch._utils", "_rebuild_parameter_with_state"),
)
# A tensor with attributes: function, type, arguments, attributes.
_WITH_STATE = ("torch._tensor", "_rebuild_from_type_v2")
_KNOWN = (
  frozenset({inert_pickle.ORDERED_DICT, _TENSOR, _WITH_STATE, *_PARAMETERS})
  | {("torch", name) for name in STORAGES}
  | beside.NAMES
)
_MAX_DIMENSIONS, _MAX_NUMBER = 32, 2**60


def _is_tensor(value: Any) -> bool:
  kinds = (_TENSOR, _WITH_STATE, *_PARAMETERS)
  return isinstance(value, inert_pickle.Call) and any(
    value.of(*kind) for kind in kinds
  )


def _tensor(call: inert_pickle.Call) -> _Tensor:
  """What a call that makes a tensor, or something around one, describes."""
  for _ in range(2):  # a parameter of a tensor with attributes, at most
    if any(call.of(*kind) for kind in _PARAMETERS):
      call = call.args[0]
    elif call.of(*_WITH_STATE):
      call = inert_pickle.Call(call.args[0], call.args[2])
    if not _is_tensor(call):
      raise errors.UserError("a parameter is not made of a tensor")
  if not call.of(*_TENSOR):
    raise errors.UserError("a parameter is not made of a tensor")
  reference, offset, shape, strides = call.args[:4]
  if not isinstance(reference, inert_pickle.Persistent):
    raise errors.UserError("a tensor has no storage")
  if isinstance(shape, inert_pickle.Call):
    shape = shape.args[0]  # of torch.Size
  if len(shape) > _MAX_DIMENSIONS or len(strides) != len(shape):
    raise errors.UserError(f"a tensor has {len(shape)} dimensions")
  numbers = (offset, *shape, *strides)
  if not all(type(n) is int and 0 <= n < _MAX_NUMBER for n in numbers):
    raise errors.UserError("a tensor's shape has a number out of all range")
  shape = tuple(shape)
  strides = (s if n > 1 else 1 for n, s in zip(shape, strides, strict=True))
  storage = torch_archive.Storage.of(reference.pid)
  return _inside(_Tensor(storage, offset, shape, tuple(strides)))


def _inside(tensor: _Tensor) -> _Tensor:
  """The tensor, which has to lie inside its storage."""
  shape, storage = tensor.shape, tensor.storage
  count = math.prod(shape)
  steps = ((n - 1) * s for n, s in zip(shape, tensor.strides, strict=True))
  last = tensor.offset + sum(steps) if count else tensor.offset - 1
  # A stride of 0 could ask for all memory.
  if last >= storage.size or count > storage.size:
    raise errors.UserError(f"a tensor of shape {shape} exceeds its storage")
  return tensor


def _read(
  tensors: dict[str, _Tensor],
  archive: torch_archive.Archive | torch_archive.Legacy,
  file_size: int,
) -> dict[str, np.ndarray]:
  """The arrays by name. Each storage is read once; equal tensors are one."""
  # A storage that many tensors share could be copied for each of them.
  total = sum(
    math.prod(tensor.shape) * STORAGES[tensor.storage.kind].itemsize
    for tensor in set(tensors.values())
  )
  if total > 2 * file_size:
    raise errors.UserError(
      f"refused: its tensors take {total} bytes, the file {file_size}"
    )
  made: dict[_Tensor, np.ndarray] = {}
  key, data = None, b""
  for tensor in sorted(tensors.values(), key=lambda t: t.storage.key):
    if tensor in made:
      continue
    storage = tensor.storage
    dtype = STORAGES[storage.kind]
    if storage.key != key or len(data) != storage.size * dtype.itemsize:
      key, data = storage.key, b""
      data = archive.storage(key, storage.size * dtype.itemsize)
    made[tensor] = _materialise(tensor, np.frombuffer(data, dtype))
  return {name: made[tensor] for name, tensor in tensors.items()}


def _materialise(tensor: _Tensor, flat: np.ndarray) -> np.ndarray:
  """A contiguous array of what `_inside` has passed."""
  view = np.lib.stride_tricks.as_strided(
    flat[tensor.offset :],
    tensor.shape,
    [step * flat.itemsize for step in tensor.strides],
    writeable=False,
  )
  return np.array(view, order="C")
