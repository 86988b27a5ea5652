"""One host that writes down the clips it is given: test_resume.py kills it.

python stream_host.py MANIFEST FIRST_STEP LAST_STEP HOST HOSTS
"""

import json
import pathlib
import sys
import time
import zlib

import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.data import pipeline, sources

CODE = 9  # int32 values: row, 4 frames, x, y, width, height


class Recorded:
  """Real videos; the first pixels of each clip say where it was cut."""

  def __init__(self, source):
    self._source = source
    self.path, self.files = source.path, source.files
    self.labels = source.labels

  def __len__(self):
    return len(self.files)

  def open(self, row, timeout):
    video = self._source.open(row, timeout)
    read = video.read

    def coded(indices, box_of, size, antialias):
      boxes = []

      def noted(width, height):
        boxes.append(box_of(width, height))
        return boxes[0]

      clip = read(indices, noted, size, antialias).copy()
      code = np.asarray([row, *indices, *boxes[0]], np.int32)
      clip.reshape(-1)[: 4 * CODE] = code.view(np.uint8)
      return clip

    video.read = coded
    return video


def stream(manifest, first, last, host, hosts):
  """What each clip of this host's share of some steps is, in order."""
  settings = settings_lib.Settings(
    seed=5,
    data=settings_lib.Data(num_frames=4, stride=1, size=32, workers=2),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=4),
  )
  source = Recorded(sources.load(str(manifest)))
  with pipeline.train_batches(
    settings,
    source,
    on_bad=print,
    start_step=first,
    process_index=host,
    process_count=hosts,
  ) as batches:
    for step in range(first, last):
      batch = next(batches)
      for slot, clip in enumerate(batch["video"]):
        flat = clip.reshape(-1)
        code = flat[: 4 * CODE].view(np.int32).tolist()
        yield {
          "step": step,
          "slot": host * len(batch["video"]) + slot,
          "file": pathlib.Path(source.files[code[0]]).name,
          "frames": code[1:5],
          "box": code[5:],
          "pixels": zlib.crc32(flat[4 * CODE :].tobytes()),
        }


if __name__ == "__main__":
  for clip in stream(sys.argv[1], *map(int, sys.argv[2:])):
    print(json.dumps(clip), flush=True)
    time.sleep(0.005)
