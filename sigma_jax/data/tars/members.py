"""What one tar holds: its headers are read, and its small texts, no video."""

import io
import os
import re
import tarfile
from typing import NamedTuple

from sigma_jax.data import storage
from sigma_jax.data.layouts import files

TEXTS = ("cls", "json", "txt")  # suffixes of what is told about a video
_BLOCK = tarfile.BLOCKSIZE
_BUFFER = 1 << 15  # bytes: a sample's texts and the next header in one request
# webdataset's `base_plus_ext`: a sample's name ends before the first dot.
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")
_PACKED = {
  b"\x1f\x8b": "gzip",
  b"BZh": "bzip2",
  b"\xfd7zXZ": "xz",
  b"\x28\xb5\x2f\xfd": "zstandard",
}


class BrokenTarError(Exception):
  """A tar that cannot be used; its text says why, in part of a line."""


class Sample(NamedTuple):
  """One video of a tar and what stands beside it.

  Attributes:
    name: of the video, as in the tar.
    offset: of its first byte in the tar.
    size: bytes.
    texts: content of its .cls, .json and .txt, None where there is none.
  """

  name: str
  offset: int
  size: int
  texts: tuple[str | None, str | None, str | None]


class Found(NamedTuple):
  """The samples of a tar, in its order, and names of those without a video."""

  samples: list[Sample]
  without: list[str]


def read(path: str) -> Found:
  """Lists a tar, local or gs://.

  Raises:
    BrokenTarError: it is cut short, damaged, compressed or no tar, or what is
      in it cannot be told apart.
    OSError: it cannot be read.
  """
  file = storage.open_ranges(path)
  try:
    with io.BufferedReader(_Raw(file), _BUFFER) as stream:
      return _grouped(stream)
  except tarfile.TarError as error:
    raise BrokenTarError(f"it is cut short or damaged ({error})") from error
  finally:
    file.close()


class _Raw(io.RawIOBase):
  """A file of `storage.open_ranges` as one that tarfile reads."""

  def __init__(self, file):
    self._file, self._place = file, 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    data = self._file.read(self._place, len(buffer))
    buffer[: len(data)] = data
    self._place += len(data)
    return len(data)

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    self._place = offset + (self._place if whence == io.SEEK_CUR else 0)
    return self._place


def _grouped(stream: io.BufferedReader) -> Found:
  """Members joined to samples by their names."""
  _check_kind(stream)
  videos: dict[str, tuple[str, int, int]] = {}
  texts: dict[str, list[str | None]] = {}
  with tarfile.open(fileobj=stream, mode="r:") as tar:
    while member := tar.next():
      tar.members.clear()  # or all headers are kept
      name = member.name.removeprefix("./")
      if not member.isfile() or not _NAME.fullmatch(name):
        continue
      stem, suffix = os.path.splitext(name)
      if suffix.lower() in files.VIDEOS:
        if stem in videos:
          raise BrokenTarError(_twice(videos[stem][0], name))
        if member.sparse is not None:
          raise BrokenTarError(f"{name} is stored with holes (sparse)")
        videos[stem] = name, member.offset_data, member.size
      elif suffix[1:].lower() in TEXTS:
        place = TEXTS.index(suffix[1:].lower())
        told = texts.setdefault(stem, [None] * len(TEXTS))
        if told[place] is not None:
          raise BrokenTarError(_twice(name, name))
        stream.seek(member.offset_data)
        told[place] = stream.read(member.size).decode("utf-8", "replace")
    _check_end(stream, tar.offset)
  return _joined(videos, texts)


def _joined(videos: dict, texts: dict) -> Found:
  samples, used = [], set()
  for stem, (name, offset, size) in videos.items():
    # webdataset's name of a sample ends before the first dot; a video's own,
    # which has dots in it, before the last one.
    base = _NAME.fullmatch(name)[1]
    found = stem if stem in texts else base
    used.add(found)
    told = tuple(texts.get(found, [None] * len(TEXTS)))
    samples.append(Sample(name, offset, size, told))
  return Found(samples, [stem for stem in texts if stem not in used])


def _twice(one: str, other: str) -> str:
  if one == other:
    return f"it holds {one} twice"
  return f"it holds {one} and {other}, two videos of one name"


def _check_kind(stream: io.BufferedReader) -> None:
  """Raises BrokenTarError unless the file may be a tar."""
  head = stream.read(_BLOCK)
  stream.seek(0)
  if not head:
    raise BrokenTarError("it is empty (0 bytes)")
  for magic, name in _PACKED.items():
    if head.startswith(magic):
      raise BrokenTarError(
        f"it is compressed ({name}): no video in it can be read without "
        "unpacking all before it; uncompress it"
      )


def _check_end(stream: io.BufferedReader, place: int) -> None:
  """Raises BrokenTarError where tarfile took something else for the end."""
  stream.seek(place)
  block = stream.read(_BLOCK)
  if len(block) < _BLOCK:
    raise BrokenTarError(
      f"it is cut short: it ends after {place + len(block)} bytes, without the "
      "mark of its end"
    )
  if block.strip(b"\0"):
    raise BrokenTarError(f"it is damaged: no header at byte {place}")
