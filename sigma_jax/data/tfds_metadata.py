"""What makes a folder of shards a tensorflow-datasets dataset.

https://www.tensorflow.org/datasets/external_tfrecord
"""

import os

import numpy as np

from sigma_jax.data.record_format import SEGMENT, Index

_DATASET, SPLIT = "videos", "train"


def shard_name(shard: int, count: int) -> str:
  """File name of a shard, as tensorflow-datasets wants it."""
  return f"{_DATASET}-{SPLIT}.array_record-{shard:05d}-of-{count:05d}"


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
      "num_frames": number,
      "label": number,
      "file": tfds.features.Text(),
    }
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder,
    dataset_name=_DATASET,
    split=SPLIT,
    filetype_suffix="array_record",
  )
  records = -(-index.frames // SEGMENT)
  ends = np.cumsum(index.videos)
  lengths = np.diff(np.concatenate([[0], np.cumsum(records)])[[0, *ends]])
  split = tfds.core.SplitInfo(
    name=SPLIT,
    shard_lengths=lengths.tolist(),
    num_bytes=int(index.sizes.sum()),
    filename_template=template,
  )
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=features,
    split_infos=[split],
    filename_template=template,
    check_data=False,
    description=(
      f"Videos as JPEG frames; an example is up to {SEGMENT} frames of one, "
      "which start with frame `first`."
    ),
  )
