"""What `features --every` writes: a file a video, parts of it, or a table."""

import json
import pathlib
import re
import shutil

import numpy as np

from sigma_jax import errors, files

_NOTE = "job.json"


def check_target(target: pathlib.Path) -> None:
  """Refuses an --out that is neither a folder nor a .parquet; UserError."""
  table = target.suffix == ".parquet"
  taken = target.is_dir() if table else target.is_file()
  if taken or (not table and target.suffix in (".npz", ".csv", ".json")):
    raise errors.UserError(
      f"--out with --every is a folder, or a file that ends in .parquet; got "
      f"{str(target)!r}"
    )


class Store:
  """Results of each row of a source, as they come.

  A row's own file stands in the folder, or, where a table is wanted, in
  OUT.parts until all are there; parts of a video that is not done, and which
  video a file is of, always stand there.

  Attributes:
    list: path of the list of them.
  """

  def __init__(self, target: pathlib.Path, rows):
    self._target, self._rows = target, rows
    self._table = target.suffix == ".parquet"
    self._parts = target.with_name(target.name + ".parts")
    self.list = target.with_name(target.name + ".bad.jsonl")

  def open(self, what: dict) -> None:
    """Begins, or goes on with the parts of a call that was asked for the same.

    Raises:
      UserError: they are of another one.
    """
    note = self._parts / _NOTE
    if note.exists():
      if json.loads(note.read_text()) != what:
        raise errors.UserError(
          f"{self._parts} holds parts of another job (other weights, files, or "
          "options); remove it or choose another --out"
        )
    else:
      self._parts.mkdir(parents=True, exist_ok=True)
      files.write_whole(note, json.dumps(what))
    if not self._table:
      self._target.mkdir(parents=True, exist_ok=True)

  def has(self, row: int, key: str) -> bool:
    """Whether this very video is done."""
    note = self._key(row)
    there = note.exists() and self._file(row).exists()
    return there and note.read_text() == key

  def is_there(self, row: int, key: str) -> bool:
    """Whether this very video is done, or could not be read."""
    return self.has(row, key) or self._reasons().get(row, ("",))[0] == key

  def bad(self) -> dict[int, str]:
    """row -> reason, of those that could not be read, in order."""
    return {row: why for row, (_, why) in sorted(self._reasons().items())}

  def _reasons(self) -> dict[int, list[str]]:
    found = {}
    for path in self._parts.glob("*.bad"):
      found[int(path.stem)] = json.loads(path.read_text())
    return found

  def parts(self, row: int, key: str) -> list[np.ndarray]:
    """Features of a video's first parts, as far as they are there."""
    found = []
    while (path := self._part(row, len(found))).exists():
      with np.load(path) as arrays:
        if str(arrays["key"]) != key:
          break
        found.append(arrays["features"])
    return found

  def put_part(self, row: int, number: int, key: str, features) -> None:
    """Stores the features of a part of a video."""
    content = files.npz(features=features, key=np.array(key))
    files.write_whole(self._part(row, number), content)

  def put(self, row: int, key: str, features, start, end) -> None:
    """Stores a video: features float32 [w, d], times float64 [w]."""
    path = self._rows.files[row]
    arrays = {"features": features, "start": start, "end": end}
    arrays |= {"path": np.array(path)} | self._label(row)
    files.write_whole(self._file(row), files.npz(**arrays))
    files.write_whole(self._key(row), key)
    self._bad(row).unlink(missing_ok=True)
    for part in self._parts.glob(f"{row:06d}-*.npz"):
      part.unlink()

  def reject(self, row: int, key: str, reason: str) -> None:
    """Notes that a video cannot be read; another call tries it again."""
    from sigma_jax.data import bad_files, sources

    files.write_whole(self._bad(row), json.dumps([key, reason]))
    count, name = len(self.bad()), sources.name(self._rows, row)
    bad_files.warn(count, name, reason, f"{count} videos are unreadable")

  def finish(self, keep: bool = False) -> None:
    """Writes the table and the list of what is bad.

    Args:
      keep: whether the parts stay.

    Raises:
      RunStopped: nothing could be read.
    """
    from sigma_jax.data import sources

    bad = self.bad()
    lines = {sources.name(self._rows, row): why for row, why in bad.items()}
    if lines:
      text = "".join(
        json.dumps({"file": file, "reason": why}) + "\n"
        for file, why in lines.items()
      )
      files.write_whole(self.list, text)
    else:  # an earlier run's tells nothing of this one
      self.list.unlink(missing_ok=True)
    good = [row for row in range(len(self._rows)) if row not in bad]
    if not good:
      raise errors.RunStopped(
        f"none of the {len(self._rows)} videos could be read; see {self.list}"
      )
    if self._table:
      _write_table(self._target, [self._file(row) for row in good])
    if not keep:
      shutil.rmtree(self._parts)

  def _label(self, row: int) -> dict[str, np.ndarray]:
    if not (self._rows.labels >= 0).any():
      return {}
    label, names = self._rows.labels[row], getattr(self._rows, "classes", ())
    return {"label": np.array(names[label] if names else label)}

  def _file(self, row: int) -> pathlib.Path:
    name = re.sub(
      r"[^\w.-]+", "_", pathlib.PurePath(self._rows.files[row]).stem
    )
    folder = self._parts if self._table else self._target
    return folder / f"{row:06d}_{name[:100]}.npz"

  def _key(self, row: int) -> pathlib.Path:
    return self._parts / f"{row:06d}.key"

  def _bad(self, row: int) -> pathlib.Path:
    return self._parts / f"{row:06d}.bad"

  def _part(self, row: int, number: int) -> pathlib.Path:
    return self._parts / f"{row:06d}-{number:06d}.npz"


def _write_table(target: pathlib.Path, paths: list[pathlib.Path]) -> None:
  """One row a window; a video at a time is held."""
  import pyarrow
  from pyarrow import parquet

  def table(path: pathlib.Path) -> pyarrow.Table:
    with np.load(path) as arrays:
      features = arrays["features"]
      # File names need not be UTF-8; parquet's strings are.
      name = str(arrays["path"]).encode("utf-8", "backslashreplace").decode()
      columns = {"path": pyarrow.array([name] * len(features))}
      for key in ("start", "end"):
        columns[key] = pyarrow.array(arrays[key])
      if "label" in arrays:
        columns["label"] = pyarrow.array([arrays["label"][()]] * len(features))
    columns["features"] = pyarrow.FixedSizeListArray.from_arrays(
      pyarrow.array(features.reshape(-1)), features.shape[1]
    )
    return pyarrow.table(columns)

  def write(file) -> None:
    first = table(paths[0])
    with parquet.ParquetWriter(file, first.schema) as writer:
      writer.write_table(first)
      for path in paths[1:]:
        writer.write_table(table(path))

  target.parent.mkdir(parents=True, exist_ok=True)
  files.write_whole(target, write)
