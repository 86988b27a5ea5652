"""What makes a folder of shards a tensorflow-datasets dataset.

https://www.tensorflow.org/datasets/external_tfrecord
"""

import os
import pathlib
import tempfile

import numpy as np

from sigma_jax.data import storage
from sigma_jax.data.records.record_format import SEGMENT, Index

_DATASET, _SPLIT = "videos", "train"


def shard_name(shard: int, count: int) -> str:
  """File name of a shard, as tensorflow-datasets wants it."""
  return f"{_DATASET}-{_SPLIT}.array_record-{shard:05d}-of-{count:05d}"


def write(folder: str, index: Index) -> None:
  """Writes dataset_info.json and features.json beside the shards.

  An example of the dataset is one record: up to SEGMENT frames of a video.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  import tensorflow_datasets as tfds

  number = tfds.features.Scalar(np.int64)
  features = tfds.features.FeaturesDict(
    {
      "frames": tfds.features.Video(
        (None, None, None, 3), encoding_format="jpeg"
      ),
      "checksums": tfds.features.Text(),
      "row": number,
      "first": number,
      "times": tfds.features.Sequence(np.int64),
      "num_frames": number,
      "label": number,
      "file": tfds.features.Text(),
    }
  )
  records = -(-index.frames // SEGMENT)
  ends = np.cumsum(index.videos)
  lengths = np.diff(np.concatenate([[0], np.cumsum(records)])[[0, *ends]])
  # Described in a local folder: tensorflow-datasets lists shards by name, and
  # not on every file system.
  with tempfile.TemporaryDirectory() as local:
    for name in index.shards:
      pathlib.Path(local, name).touch()
    template = tfds.core.ShardedFileTemplate(
      data_dir=local,
      dataset_name=_DATASET,
      split=_SPLIT,
      filetype_suffix="array_record",
    )
    split = tfds.core.SplitInfo(
      name=_SPLIT,
      shard_lengths=lengths.tolist(),
      num_bytes=int(index.sizes.sum()),
      filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
      data_dir=local,
      features=features,
      split_infos=[split],
      filename_template=template,
      check_data=False,
      description=(
        f"Videos as JPEG frames; an example is up to {SEGMENT} frames of one, "
        "which start with frame `first`."
      ),
    )
    for path in sorted(pathlib.Path(local).glob("*.json")):
      storage.write(os.path.join(folder, path.name), path.read_bytes())
