"""PyTorch's .pth files, read without PyTorch (torch_writer.py writes them).

A .pth file is a pickle, and a pickle is a program: unpickling a stranger's
file with the usual means runs what it says. Here only the handful of globals
that state dicts consist of is known; any other ends the reading with an error
that names it, before anything is called.

Format: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
(zip archives since PyTorch 1.6; one stream of pickles before).
"""

import collections
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from sigma_jax import errors

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
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
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
    if zipfile.is_zipfile(path):
      content, storages = _read_zip(path)
    else:
      content, storages = _read_legacy(path)
    found = _find(content, note)
    tensors = {name: _materialise(t, storages) for name, t in found.items()}
  except errors.UserError as error:
    raise errors.UserError(f"{path}: {error}") from error
  except Exception as error:  # a damaged pickle can fail in any way
    raise errors.UserError(
      f"{path} is not a readable .pth file ({type(error).__name__}: {error}); "
      + _CONVERT
    ) from error
  return _strip(tensors, note)


class _Storage(NamedTuple):
  key: str
  dtype: np.dtype
  size: int  # elements


class _Tensor(NamedTuple):
  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class _Inert:
  """Stands for an object whose attributes are kept and never used."""


class _Call:
  """A permitted global. No attribute can be set on it, unlike a function."""

  __slots__ = ("_call",)

  def __init__(self, call: Callable):
    object.__setattr__(self, "_call", call)

  def __call__(self, *args):
    return self._call(*args)

  def __setattr__(self, name, value):
    raise pickle.UnpicklingError("a global's attributes cannot be set")


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
  return _Tensor(storage, int(offset), tuple(shape), tuple(strides))


_ALLOWED = {
  ("collections", "OrderedDict"): collections.OrderedDict,
  ("torch", "Size"): tuple,
  ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
  ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
  ("torch", "device"): lambda *args: args,
}


class _Unpickler(pickle.Unpickler):
  """Knows the globals of state dicts and no others."""

  def find_class(self, module: str, name: str) -> Any:
    if module == "torch" and name in STORAGES:
      return STORAGES[name]
    if (module, name) == ("argparse", "Namespace"):
      # A class made for this one file: whatever the pickle sets on it, goes.
      return type("Namespace", (_Inert,), {})
    if (module, name) in _ALLOWED:
      return _Call(_ALLOWED[module, name])
    raise errors.UserError(
      f"refused: its pickle calls for {module}.{name}, which no state dict "
      f"needs; nothing was executed. If you trust the file, {_CONVERT}"
    )

  def persistent_load(self, pid: tuple) -> _Storage:
    kind, dtype, key, _, size = pid[:5]
    if kind != "storage" or not isinstance(dtype, np.dtype):
      raise errors.UserError(f"unknown storage {pid!r}; {_CONVERT}")
    if len(pid) > 5 and pid[5] is not None:
      raise errors.UserError(f"storage {key} is a view of another; {_CONVERT}")
    return _Storage(str(key), dtype, int(size))


def _read_zip(path: pathlib.Path):
  """The unpickled content and a function that reads one storage's bytes."""
  with zipfile.ZipFile(path) as archive:
    pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
    if len(pickles) != 1:
      raise errors.UserError("a zip file, but not one of PyTorch's")
    root = pickles[0].removesuffix("data.pkl")
    names = set(archive.namelist())
    order = root + "byteorder"
    if order in names and archive.read(order) != b"little":
      raise errors.UserError(f"written big-endian; {_CONVERT}")
    with archive.open(pickles[0]) as file:
      content = _Unpickler(file).load()

  def read(storage: _Storage) -> bytes:
    with zipfile.ZipFile(path) as archive:
      info = archive.getinfo(f"{root}data/{storage.key}")
      if info.file_size != storage.size * storage.dtype.itemsize:
        raise errors.UserError(f"storage {storage.key} is cut off")
      return archive.read(info)

  return content, read


def _read_legacy(path: pathlib.Path):
  """As `_read_zip`, for the older stream: five pickles, then the bytes."""
  with path.open("rb") as file:
    if file.read(1) != b"\x80":
      raise errors.UserError("not a .pth file")
    file.seek(0)
    if _Unpickler(file).load() != _LEGACY_MAGIC:
      raise errors.UserError(f"a pickle, but not one of PyTorch's; {_CONVERT}")
    _Unpickler(file).load()  # protocol
    if not _Unpickler(file).load().get("little_endian", True):
      raise errors.UserError(f"written big-endian; {_CONVERT}")
    content = _Unpickler(file).load()
    keys, start = _Unpickler(file).load(), file.tell()

  sizes = {tensor.storage.key: tensor.storage for tensor in _walk(content)}

  def read(storage: _Storage) -> bytes:
    with path.open("rb") as file:
      file.seek(start)
      for key in map(str, keys):
        (size,) = struct.unpack("<q", file.read(8))
        if key not in sizes:
          raise errors.UserError(f"storage {key} has no dtype; {_CONVERT}")
        count = size * sizes[key].dtype.itemsize
        if key == storage.key:
          return file.read(count)
        file.seek(count, 1)
    raise errors.UserError(f"storage {storage.key} is missing")

  return content, read


def _walk(content: Any):
  """All tensors in nested dicts, lists and tuples."""
  if isinstance(content, _Tensor):
    yield content
  elif isinstance(content, (dict, list, tuple)):
    for value in content.values() if isinstance(content, dict) else content:
      yield from _walk(value)


def _materialise(tensor: _Tensor, read: Callable) -> np.ndarray:
  """A contiguous array; what lies outside its storage is an error."""
  storage, shape, strides = tensor.storage, tensor.shape, tensor.strides
  steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
  count = math.prod(shape)
  last = tensor.offset + sum(steps) if count else -1
  if (
    any(type(n) is not int or n < 0 for n in (*shape, *strides))
    or tensor.offset < 0
    or last >= storage.size
    or count > storage.size  # a few bytes could ask for all memory
  ):
    raise errors.UserError(f"a tensor of shape {shape} exceeds its storage")
  flat = np.frombuffer(read(storage), storage.dtype)
  if flat.size != storage.size:
    raise errors.UserError(f"storage {storage.key} is cut off")
  item = storage.dtype.itemsize
  view = np.lib.stride_tricks.as_strided(
    flat[tensor.offset :], shape, [s * item for s in strides], writeable=False
  )
  return np.array(view, order="C")


def _find(content: Any, note: Callable[[str], None]) -> dict[str, _Tensor]:
  """The state dict in what a training script saved."""
  if isinstance(content, dict):
    for key in _KEYS:
      inner = content.get(key)
      if isinstance(inner, dict) and any(
        isinstance(value, _Tensor) for value in inner.values()
      ):
        others = [str(other) for other in content if other != key]
        left = f"; left out: {', '.join(others)}" if others else ""
        note(f"state dict found under {key!r}{left}")
        content = inner
        break
  if not isinstance(content, dict) or not content:
    raise errors.UserError("no state dict in it")
  strange = [str(k) for k, v in content.items() if not isinstance(v, _Tensor)]
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
