"""The rows of one list, as they are checked."""

import dataclasses
import functools
import os

import numpy as np

from sigma_jax.data import sources, storage
from sigma_jax.data.parts import Parts


@dataclasses.dataclass(frozen=True)
class Split:
  """One manifest, folder of prepared records or list of sequences.

  Attributes:
    path: of it.
    files: n files, as listed.
    labels: [n], int32, or names as objects, "" or below 0 where there is none;
      None: a list of sequences.
    masks: mask files -> their frames.
    records: n names of the records, where that is what is read.
    parts: of the files, where rows are of parts.
    form: what the list was taken for; "": it is none.
    in_tars: files -> where in a tar they are, `tars.member.Member`.
  """

  path: str
  files: tuple[str, ...]
  labels: np.ndarray | None
  masks: dict[str, str]
  records: tuple[str, ...] = ()
  parts: Parts | None = None
  form: str = ""
  in_tars: dict = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def read(self) -> tuple[str, ...]:
    """Names of what is read for each row: its file or part, or its record."""
    return self.records or sources.names(self)

  @functools.cached_property
  def places(self) -> tuple[str, ...]:
    """Files as the disk knows them: equal for all spellings, and by links."""
    return tuple(
      file if storage.is_remote(file) else os.path.realpath(file)
      for file in self.files
    )

  @functools.cached_property
  def seen(self) -> tuple[str, ...]:
    """`places`, and what part of the file a row is."""
    if self.parts is None:
      return self.places
    return tuple(
      sources.name_of_part(place, self.parts[row])
      for row, place in enumerate(self.places)
    )
