"""Memory of a process that reads clips, over time: for `sigma_jax.bench data`.

python -m sigma_jax.bench.data.memory FOLDER SOURCE CLIPS SIZE

Clips of SIZE pixels go through pipeline.train_batches with two workers; after
every hundredth of them a line of JSON has the clips delivered so far, resident
bytes and the unreadable files met, of which each is tried again in each epoch.
"""

import json
import os
import pathlib
import sys

from sigma_jax import settings
from sigma_jax.data import bad_files, pipeline, sources

_BATCH = 8
_REPORTS = 100


def run(folder: str, source: str, clips: int, size: int) -> None:
  """Reads clips and prints; see above."""
  rows = sources.load(os.path.join(folder, source))
  wanted = settings.Settings(
    data=settings.Data(size=size, workers=2),
    model=settings.Model(patch=size // 2),
    train=settings.Train(batch_size=_BATCH),
  )
  bad = bad_files.BadFiles(folder, 1.0, rows.files)
  batches = -(-clips // _BATCH)
  every = max(batches // _REPORTS, 1)
  with pipeline.train_batches(
    wanted, rows, on_bad=bad.report, on_tried=bad.tried
  ) as read:
    for number in range(1, batches + 1):
      next(read)
      if number % every == 0 or number == batches:
        line = {"clips": number * _BATCH, "bytes": _resident()}
        print(json.dumps(line | {"bad_files": bad.num_bad}), flush=True)


def _resident() -> int:
  """Bytes of this process that are in memory (Linux)."""
  pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
  return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
  run(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))
