"""Writes .pth files that PyTorch loads with `weights_only=True`.

The zip format of PyTorch 1.6 and later: a pickle that names storages, and one
file of raw bytes a storage.
"""

import pathlib
import struct
import zipfile

import numpy as np

from sigma_jax import files
from sigma_jax.interop import torch_pickle

_NAMES = {dtype: name for name, dtype in torch_pickle.STORAGES.items()}


def save(
  path: str | pathlib.Path,
  tensors: dict[str, np.ndarray],
  key: str = "",
  texts: dict[str, str] | None = None,
) -> None:
  """Writes a state dict that `torch.load(path, weights_only=True)` reads.

  Args:
    path: the .pth, replaced once it is complete.
    tensors: arrays by name, of any dtype that `torch_pickle.load` knows.
    key: the file is a dict that has the state dict under this key; empty: it
      is the state dict.
    texts: what else that dict holds.

  Raises:
    ValueError: a dtype that PyTorch has no storage for.
  """
  path = pathlib.Path(path)
  arrays = {n: np.array(t, order="C", copy=None) for n, t in tensors.items()}
  for name, array in arrays.items():
    if array.dtype not in _NAMES:
      raise ValueError(f"{name} has dtype {array.dtype}, unknown to PyTorch")

  def write(file):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
      archive.writestr("archive/data.pkl", _pickle(arrays, key, texts or {}))
      archive.writestr("archive/byteorder", "little")
      for number, array in enumerate(arrays.values()):
        archive.writestr(f"archive/data/{number}", array.tobytes())
      archive.writestr("archive/version", "3\n")

  files.write_whole(path, write)


def _pickle(arrays: dict[str, np.ndarray], key: str, texts: dict) -> bytes:
  """The file's content, opcode by opcode (protocol 2).

  pickle itself would import the globals that it writes.
  """
  out = _state_dict(arrays)
  if key:
    others = [_text(word) for pair in texts.items() for word in pair]
    out = b"}(" + b"".join([_text(key), out, *others]) + b"u"
  return b"\x80\x02" + out + b"."


def _state_dict(arrays: dict[str, np.ndarray]) -> bytes:
  """The OrderedDict of tensors."""
  empty = b"ccollections\nOrderedDict\n)R"
  out = [empty, b"("]
  for key, (name, array) in enumerate(arrays.items()):
    strides = [step // array.itemsize for step in array.strides]
    out += [
      _text(name),
      b"ctorch._utils\n_rebuild_tensor_v2\n((",
      _text("storage") + b"ctorch\n" + _NAMES[array.dtype].encode() + b"\n",
      _text(str(key)) + _text("cpu") + _integer(array.size),
      b"tQ" + _integer(0),
      b"(" + b"".join(map(_integer, array.shape)) + b"t",
      b"(" + b"".join(map(_integer, strides)) + b"t",
      b"\x89" + empty + b"tR",
    ]
  return b"".join(out) + b"u"


def _text(value: str) -> bytes:
  data = value.encode()
  return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
  if value < 2**31:
    return b"J" + struct.pack("<i", value)
  return b"\x8a\x08" + struct.pack("<q", value)
