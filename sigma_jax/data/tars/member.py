"""One video inside a tar: where its bytes are."""

import dataclasses

from sigma_jax.data import storage


class ChangedError(OSError):
  """A tar is another one than when it was indexed."""

  def __init__(self):
    super().__init__(
      "its tar has changed since it was indexed; start the command again"
    )


@dataclasses.dataclass(frozen=True)
class Member:
  """A video in a tar; `str` gives its name for messages.

  Attributes:
    name: the tar's path, a slash and its name there.
    tar: path, local or gs://.
    stamp: of the tar when it was indexed: size in bytes, time of change in ns.
    offset: of its first byte.
    size: bytes.
  """

  name: str
  tar: str
  stamp: tuple[int, int]
  offset: int
  size: int

  def __str__(self) -> str:
    return self.name

  def read(self) -> bytes:
    """All of it, in one request.

    Raises:
      OSError: the tar cannot be read, or was written anew (ChangedError).
    """
    # Of remote ones that would be a request more for every clip.
    if storage.stamp(self.tar) not in (None, self.stamp):
      raise ChangedError
    file = storage.open_ranges(self.tar)
    try:
      data = file.read(self.offset, self.size)
    finally:
      file.close()
    if len(data) != self.size:
      raise ChangedError
    return data
