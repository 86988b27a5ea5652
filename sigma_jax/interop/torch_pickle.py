"""PyTorch's .pth files, read without PyTorch (torch_writer.py writes them).

A .pth file is a pickle, and a pickle is a program: unpickling a stranger's
file with the usual means runs what it says. Here only the handful of globals
that state dicts consist of is known, and what training scripts keep beside
them; any other ends the reading with an error that names it. No global is ever
fetched and nothing is called: see `inert_pickle`.

Format: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
(zip archives since PyTorch 1.6; one stream of pickles before).
"""

import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from sigma_jax import errors
from sigma_jax.interop import inert_pickle, torch_archive

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
# Where training scripts put the state dict inside what they save.
_KEYS = ("model", "module", "state_dict")
# What wrappers (DistributedDataParallel, detection backbones) put before names.
_PREFIXES = ("module.", "backbone.")
_CONVERT = (
  "on a machine with PyTorch, load it and save the state dict alone: "
  "torch.save(torch.load(path)['model'], 'new.pth')"
)


def load(
  path: str | pathlib.Path, note: Callable[[str], None] = lambda line: None
) -> dict[str, np.ndarray]:
  """Reads the state dict of a .pth file; nothing in the file is executed.

  Args:
    path: a zip .pth, or the stream of pickles from before PyTorch 1.6.
    note: called with one line for whatever is not taken as it stands: the key
      under which the state dict was found, prefixes that were stripped.

  Returns:
    Contiguous arrays by name, dtypes as stored (bfloat16: ml_dtypes').

  Raises:
    UserError: no such file, not a .pth, a global that state dicts do not need
      (named), a damaged tensor, or no state dict in it.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise errors.UserError(f"no such file: {path}")
  try:
    sizes = {name: dtype.itemsize for name, dtype in STORAGES.items()}
    with torch_archive.reading(path, _KNOWN, sizes) as archive:
      calls = _find(archive.content.value, note)
      tensors = {name: _tensor(call) for name, call in calls.items()}
      arrays = _read(tensors, archive, path.stat().st_size)
  except errors.UserError as error:
    raise errors.UserError(
      f"{path}: {error}. If you trust the file, {_CONVERT}"
    ) from error
  except Exception as error:  # a damaged pickle can fail in any way
    reason = f"{type(error).__name__}: {error}"[:200]
    raise errors.UserError(
      f"{path} is not a readable .pth file ({reason}); {_CONVERT}"
    ) from error
  return _strip(arrays, note)


class _Tensor(NamedTuple):
  """A tensor as its pickle has it: elements of a storage. Hashable."""

  storage: torch_archive.Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = ("torch._utils", "_rebuild_parameter")
# What training scripts keep beside the weights. It is passed over: reading a
# name, a call or a state makes nothing of it, see `inert_pickle`.
_BESIDE = {
  ("argparse", "Namespace"),
  ("torch", "Size"),
  ("torch", "device"),
  *(("torch", name) for name in ("float16", "bfloat16", "float32", "float64")),
  *(("torch", name) for name in ("uint8", "int8", "int16", "int32", "int64")),
  ("torch", "bool"),
  ("collections", "defaultdict"),
  ("_codecs", "encode"),
  ("numpy", "dtype"),
  ("numpy", "ndarray"),
  *(
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (
      ("multiarray", "scalar"),
      ("multiarray", "_reconstruct"),
      ("numeric", "_frombuffer"),
    )
  ),
  *(
    (builtins, name)
    for builtins in ("builtins", "__builtin__")
    for name in (
      *("set", "frozenset", "list", "tuple", "dict", "slice", "range"),
      *("bool", "int", "long", "float", "complex", "str", "bytearray"),
    )
  ),
  *(
    (module, name)
    for module in ("pathlib", "pathlib._local")
    for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
  ),
}
_KNOWN = frozenset(
  {inert_pickle.ORDERED_DICT, _TENSOR, _PARAMETER}
  | {("torch", name) for name in STORAGES}
  | _BESIDE
)
_MAX_DIMENSIONS, _MAX_NUMBER = 32, 2**60


def _is_tensor(value: Any) -> bool:
  return isinstance(value, inert_pickle.Call) and (
    value.of(*_TENSOR) or value.of(*_PARAMETER)
  )


def _tensor(call: inert_pickle.Call) -> _Tensor:
  """What a call that makes a tensor, or a parameter of one, describes."""
  if call.of(*_PARAMETER):
    call = call.args[0]
  if not _is_tensor(call) or not call.of(*_TENSOR):
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


def _find(
  content: Any, note: Callable[[str], None]
) -> dict[str, inert_pickle.Call]:
  """The state dict in what a training script saved."""
  if isinstance(content, dict):
    for key in _KEYS:
      inner = content.get(key)
      if isinstance(inner, dict) and any(
        _is_tensor(value) for value in inner.values()
      ):
        others = [str(other)[:80] for other in content if other != key]
        left = f"; left out: {', '.join(others)}" if others else ""
        note(f"state dict found under {key!r}{left}")
        content = inner
        break
  if not isinstance(content, dict) or not content:
    raise errors.UserError("no state dict in it")
  strange = [str(k)[:80] for k, v in content.items() if not _is_tensor(v)]
  if strange:
    raise errors.UserError(
      f"no state dict in it: {', '.join(strange[:5])} hold no tensors"
    )
  return {str(name): tensor for name, tensor in content.items()}


def _strip(tensors: dict[str, np.ndarray], note: Callable[[str], None]):
  """Names without what all of them begin with, where wrappers put it."""
  for prefix in _PREFIXES:
    if all(name.startswith(prefix) for name in tensors):
      note(f"prefix {prefix!r} stripped from all names")
      tensors = {n.removeprefix(prefix): t for n, t in tensors.items()}
  return tensors
