"""How often an action repeats in a video, and when: one JSON object a line."""

import dataclasses
import json
import os
from collections.abc import Sequence

from sigma_jax import errors
from sigma_jax.data import storage


@dataclasses.dataclass(frozen=True)
class Repetitions:
  """The annotation of one video.

  Attributes:
    file: its name, without folders and suffix.
    count: repetitions.
    start_frame: where the annotated part begins; frames count from 1, as the
      published code names the images it opens; 0: not annotated.
    end_frame: its last frame; 0: not annotated.
    bounds: count + 1 frames between which repetitions lie, in order; empty:
      not annotated.

  Raises:
    ValueError: a number is negative or not whole, or the bounds are not these.
  """

  file: str
  count: int
  start_frame: int = 0
  end_frame: int = 0
  bounds: tuple[int, ...] = ()

  def __post_init__(self):
    numbers = (self.count, self.start_frame, self.end_frame, *self.bounds)
    if any(type(number) is not int or number < 0 for number in numbers):
      raise ValueError(
        f"{self.file}: counts and frames are whole numbers from 0 up, got "
        f"{list(numbers)}"
      )
    bounds = list(self.bounds)
    if bounds and (len(bounds) != self.count + 1 or sorted(bounds) != bounds):
      raise ValueError(
        f"{self.file}: the bounds of {self.count} repetitions are "
        f"{self.count + 1} frames in order, got {bounds}"
      )


def save(path: str, rows: Sequence[Repetitions]) -> None:
  """Writes one line a video."""
  lines = [json.dumps(dataclasses.asdict(row)) + "\n" for row in rows]
  storage.write(path, "".join(lines).encode())


def load(path: str, files: Sequence[str]) -> tuple[Repetitions, ...]:
  """Annotations of the videos of a manifest, in its order.

  Args:
    path: what `save` wrote.
    files: the manifest's files.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: it is no such file, a line of it contradicts itself, or it does
      not hold one of the videos.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f"repetitions {path!r}: no such file")
  found = {}
  # What is not text is found by the line that it is on.
  with open(path, encoding="utf-8", errors="replace") as lines:
    for number, line in enumerate(lines, 1):
      try:
        row = Repetitions(**json.loads(line))
      except (ValueError, TypeError) as error:
        raise errors.UserError(
          f"repetitions {path}, line {number}: {error}"
        ) from error
      # Copies of UCF101 differ in the case of a class's name.
      bounds = tuple(row.bounds)
      found[row.file.lower()] = dataclasses.replace(row, bounds=bounds)
  stems = [os.path.splitext(os.path.basename(file))[0] for file in files]
  for stem in stems:
    if stem.lower() not in found:
      raise errors.UserError(f"repetitions {path} do not hold {stem!r}")
  return tuple(found[stem.lower()] for stem in stems)
