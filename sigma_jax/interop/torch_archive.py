"""The container of a .pth file: where its pickle and its bytes lie.

Two kinds: a zip archive since PyTorch 1.6, and before it one stream of five
pickles and the storages' bytes. What a file says about its sizes is compared
with the file before anything is read, so that none makes more memory than it
takes on disk: entries have to be stored, not compressed, and must not overlap.

Format: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

import contextlib
import io
import itertools
import os
import pathlib
import struct
import zipfile
from collections.abc import Collection, Iterator
from typing import NamedTuple

from sigma_jax import errors
from sigma_jax.interop import inert_pickle

_ZIP = b"PK\x03\x04"
# An entry of it becomes a Python object some twenty times its size.
_MAX_DIRECTORY_BYTES = 2**23
_LOCAL_HEADER_BYTES = 30  # before the entry's name, at least
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

Known = Collection[tuple[str, str]]


@contextlib.contextmanager
def reading(
  path: pathlib.Path, known: Known, item_sizes: dict[str, int]
) -> Iterator["Archive | Legacy"]:
  """A file of either kind, with its pickle read.

  Args:
    path: told apart by how it begins, as PyTorch does.
    known: globals that its pickle may name.
    item_sizes: bytes of an element by name of the storage's class.

  Raises:
    UserError: refused; and others where the file is damaged.
  """
  with _Directory(path) as file:
    zipped = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    yield Archive(file, known) if zipped else Legacy(file, known, item_sizes)


class Archive:
  """The zip form.

  Attributes:
    content: what its pickle holds.
  """

  def __init__(self, file: "_Directory", known: Known):
    file.most = _MAX_DIRECTORY_BYTES
    self._archive = zipfile.ZipFile(file)
    file.most = None
    self._entries = _entries(self._archive)
    pickles = [n for n in self._entries if n.endswith("/data.pkl")]
    if len(pickles) != 1:
      raise errors.UserError("a zip file, but not one of PyTorch's")
    self._root = pickles[0].removesuffix("data.pkl")
    order = self._root + "byteorder"
    if order in self._entries and self._read(order, 16) != b"little":
      raise errors.UserError("written big-endian")
    data = self._read(pickles[0], inert_pickle.MAX_BYTES)
    self.content = inert_pickle.load(io.BytesIO(data), known)

  def storage(self, key: str, size: int) -> bytes:
    """The bytes of a storage that is said to have `size` of them."""
    name = f"{self._root}data/{key}"
    if name not in self._entries:
      raise errors.UserError(f"storage {key[:80]} is missing")
    if self._entries[name].file_size != size:
      raise errors.UserError(f"storage {key} is cut off")
    return self._read(name, size)

  def _read(self, name: str, most: int) -> bytes:
    if self._entries[name].file_size > most:
      raise errors.UserError(f"its entry {name[:80]!r} is over {most} bytes")
    return self._archive.read(self._entries[name])


class _Directory(io.BufferedReader):
  """A file of which no single read may be large while `most` is set.

  zipfile reads an archive's directory at once, as long as it says it is.
  """

  most: int | None = None

  def __init__(self, path: pathlib.Path):
    super().__init__(io.FileIO(path))

  def read(self, size=-1):
    if self.most is None:
      return super().read(size)
    if size is None or size < 0:  # zipfile does so at the file's very end
      size = os.fstat(self.fileno()).st_size - self.tell()
    if size > self.most:
      raise errors.UserError(
        f"refused: its directory is over {self.most} bytes"
      )
    return super().read(size)


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
  """By name; each lies in the file as it is, at a place of its own."""
  found = archive.infolist()
  entries = {info.filename: info for info in found}
  if len(entries) != len(found):
    raise errors.UserError("refused: two of its entries have one name")
  for info in found:
    name = info.filename[:80]
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
      raise errors.UserError(
        f"refused: its entry {name!r} is compressed or encrypted; PyTorch "
        "stores entries as they are"
      )
    if info.file_size != info.compress_size:
      raise errors.UserError(f"its entry {name!r} has two sizes")
  ordered = sorted(found, key=lambda info: info.header_offset)
  starts = [info.header_offset for info in ordered] + [archive.start_dir]
  for info, (start, end) in zip(
    ordered, itertools.pairwise(starts), strict=True
  ):
    if start + _LOCAL_HEADER_BYTES + info.file_size > end:
      raise errors.UserError(
        f"refused: its entry {info.filename[:80]!r} overlaps another"
      )
  return entries


class _Place(NamedTuple):
  start: int
  size: int  # bytes


class Legacy:
  """The older stream; as `Archive`."""

  def __init__(self, file: io.BufferedReader, known: Known, item_sizes: dict):
    self._file = file
    size = os.fstat(file.fileno()).st_size
    head = io.BytesIO(file.read(min(size, inert_pickle.MAX_BYTES)))
    if head.getbuffer()[:1] != b"\x80":
      raise errors.UserError("not a .pth file")
    if inert_pickle.load(head, known).value != _LEGACY_MAGIC:
      raise errors.UserError("a pickle, but not one of PyTorch's")
    inert_pickle.load(head, known)  # protocol
    about = inert_pickle.load(head, known).value
    if not isinstance(about, dict) or about.get("little_endian") is False:
      raise errors.UserError("written big-endian")
    self.content = inert_pickle.load(head, known)
    keys = inert_pickle.load(head, known).value
    self._places = self._lay_out(keys, head.tell(), item_sizes)

  def _lay_out(self, keys, start: int, item_sizes: dict) -> dict[str, _Place]:
    """Where each storage is: before its bytes stands its length."""
    sizes = {}
    for reference in self.content.persistent:
      storage = Storage.of(reference.pid)
      sizes[storage.key] = item_sizes[storage.kind]
    places = {}
    end = self._file.seek(0, io.SEEK_END)
    for key in keys:
      if not isinstance(key, str) or key not in sizes or key in places:
        raise errors.UserError("a storage has no dtype, or stands there twice")
      self._file.seek(start)
      (count,) = struct.unpack("<q", self._file.read(8))
      size = count * sizes[key]
      if count < 0 or start + 8 + size > end:
        raise errors.UserError(f"storage {key[:80]} is cut off")
      places[key] = _Place(start + 8, size)
      start += 8 + size
    return places

  def storage(self, key: str, size: int) -> bytes:
    """The bytes of a storage that is said to have `size` of them."""
    if key not in self._places:
      raise errors.UserError(f"storage {key[:80]} is missing")
    if self._places[key].size != size:
      raise errors.UserError(f"storage {key[:80]} is cut off")
    self._file.seek(self._places[key].start)
    return self._file.read(size)


class Storage(NamedTuple):
  """A reference to a storage. kind: its class, FloatStorage and so on."""

  key: str
  kind: str
  size: int  # elements

  @staticmethod
  def of(pid) -> "Storage":
    """From the tuple that stands in the pickle; raises UserError."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
      raise errors.UserError("its pickle refers to something unknown outside")
    _, kind, key, _, size = pid[:5]
    named = isinstance(kind, inert_pickle.Global) and kind.module == "torch"
    if not named or type(key) is not str or type(size) is not int or size < 0:
      raise errors.UserError("its pickle refers to a storage of unknown kind")
    if len(pid) > 5 and pid[5] is not None:
      raise errors.UserError(f"storage {key[:80]} is a view of another")
    return Storage(key, kind.name, size)
