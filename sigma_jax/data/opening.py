"""What a row of a list names -> its video: a file, an image, a tar's member."""

import hashlib
import os

from sigma_jax.data import storage
from sigma_jax.data.tars.member import Member
from sigma_jax.data.video import decode, frame_folder, stills

Address = str | Member  # a path, or a place in a tar
Opened = decode.Clip | stills.Still | frame_folder.Frames


def opened(address: Address, timeout: float) -> Opened:
  """Opens a video; `timeout` in seconds, to the end of its reads.

  Args:
    address: a video, an image as a video of one frame, or a folder of frames,
      local or gs://; or a video in a tar.

  Raises:
    DecodeError: it cannot be read.
    UserError: there is no way to read such paths.
  """
  if isinstance(address, Member):
    return decode.Clip(address, timeout)
  if frame_folder.is_one(address):
    return frame_folder.Frames(address, timeout)
  return stills.opened(address) or decode.Clip(address, timeout)


def stamp(address: Address) -> list:
  """JSON-able: another one, and it was written anew; looks at local files."""
  if isinstance(address, Member):
    return [*address.stamp, address.offset, address.size]
  if frame_folder.is_one(address):
    return frame_folder.stamp(address)
  return storage.stamp(address)


def num_bytes(address: Address) -> int:
  """Size of a local file, of a folder's frames, or in a tar.

  Raises:
    OSError: it cannot be looked at.
  """
  if isinstance(address, Member):
    return address.size
  return sum(map(os.path.getsize, _paths(address)))


def digest(address: Address) -> str:
  """Hex digits of the content of a local file or folder of frames, or in a tar.

  Raises:
    OSError, DecodeError: it cannot be read.
  """
  if isinstance(address, Member):
    return hashlib.blake2b(address.read()).hexdigest()
  found = []
  for path in _paths(address):
    with open(path, "rb") as file:
      found.append(hashlib.file_digest(file, "blake2b").hexdigest())
  if not frame_folder.is_one(address):
    return found[0]
  return hashlib.blake2b("".join(found).encode()).hexdigest()


def _paths(path: str) -> list[str]:
  """A file, or the frames of a folder."""
  if not frame_folder.is_one(path):
    return [path]
  return [os.path.join(path, name) for name in frame_folder.ordered(path)]
