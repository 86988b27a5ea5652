"""Where the records of an ArrayRecord file lie, so that one read gets one.

The format is Riegeli's,
https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md:
blocks of 64 KiB that start with a header of 24 bytes, and through them, as if
these headers were not there, chunks of a header of 40 bytes and data. With one
record to a chunk and no compression, which is how `write` writes, a record is
a range of bytes. Reading it by that range works on any file system, takes a
fifth of the time that the library's reader takes, and keeps no file open.
"""

from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from sigma_jax import errors

_BLOCK = 1 << 16
_BLOCK_HEADER = 24
_CHUNK_HEADER = 40
_OPTIONS = "group_size:1,uncompressed"


class DamagedRecord(Exception):
  """Bytes that are no record."""


def write(path: str, records: Iterable[bytes]) -> np.ndarray:
  """Writes a local file.

  Args:
    path: local.
    records: not empty ones.

  Returns:
    int64 [n, 2]: offsets where each record's chunk begins and ends.

  Raises:
    UserError: the library is not there on this platform.
    OSError: the disk is full, and the like.
  """
  try:
    from array_record.python import array_record_module
  except ImportError as error:
    raise errors.UserError(
      "preparing records needs the package array_record, of which there is no "
      f"build for this platform ({error}); prepare on Linux, or read the video "
      "files themselves; prepared records are read without it"
    ) from error
  try:
    writer = array_record_module.ArrayRecordWriter(path, _OPTIONS)
    lengths = []
    for record in records:
      writer.write(record)
      lengths.append(len(record))
    writer.close()
  except (RuntimeError, ValueError) as error:
    raise OSError(f"{path} cannot be written: {error}") from error
  with open(path, "rb") as file:
    return _find(file, lengths)


def _find(file: BinaryIO, lengths: list[int]) -> np.ndarray:
  """Offsets of the first chunks that hold records, which have these lengths."""
  found, begin = [], 0
  while len(found) < len(lengths):
    file.seek(begin)
    head = _without_block_headers(
      file.read(_BLOCK_HEADER + _CHUNK_HEADER), begin
    )
    size = int.from_bytes(head[8:16], "little")
    end = _end(begin, _CHUNK_HEADER + size)
    if not size and begin:
      raise OSError(f"{file.name}: {len(found)} records of {len(lengths)}")
    if head[24:25] == b"r":
      found.append((begin, end))
    begin = end
  places = np.array(found, np.int64).reshape(-1, 2)
  for (begin, end), length in zip(found, lengths, strict=True):
    file.seek(begin)
    if len(parse(file.read(end - begin), begin)) != length:
      raise OSError(f"{file.name}: a record is not as it was written")
  return places


def parse(data: bytes, begin: int) -> memoryview:
  """The record of a chunk.

  Args:
    data: the file's bytes from the chunk's begin to its end.
    begin: the offset of the first.

  Raises:
    DamagedRecord: these bytes are no chunk of one uncompressed record.
  """
  chunk = memoryview(_without_block_headers(data, begin))
  size = int.from_bytes(chunk[8:16], "little")
  decoded = int.from_bytes(chunk[32:40], "little")
  one_record = chunk[24:32] == b"r\x01\0\0\0\0\0\0"
  # Then: compression (0 is none), the length of the list of lengths, that
  # list (one number of up to 10 bytes), the record.
  if len(chunk) < _CHUNK_HEADER + 3 or not one_record or chunk[40]:
    raise DamagedRecord("no record where one should be")
  start = _CHUNK_HEADER + 2 + chunk[41]
  if size + _CHUNK_HEADER != len(chunk) or start + decoded != len(chunk):
    raise DamagedRecord("a record that is not complete")
  return chunk[start:]


def _without_block_headers(data: bytes, begin: int) -> bytes:
  """Bytes of a file from `begin` on, less the headers of blocks."""
  parts, place = [], 0
  first = -begin % _BLOCK  # of the blocks that start in these bytes
  view = memoryview(data)
  for header in range(first, len(data), _BLOCK):
    parts.append(view[place:header])
    place = header + _BLOCK_HEADER
  parts.append(view[place:])
  return b"".join(parts)


def _end(begin: int, size: int) -> int:
  """Where `size` bytes from `begin` end, headers of blocks not counted."""
  room = _BLOCK - _BLOCK_HEADER
  block, offset = divmod(begin, _BLOCK)
  block, offset = divmod(
    block * room + max(offset - _BLOCK_HEADER, 0) + size, room
  )
  return block * _BLOCK + (offset + _BLOCK_HEADER if offset else 0)
