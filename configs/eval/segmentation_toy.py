"""Segmentation of toy scenes, three digits in each: a minute on CPU.

python -m sigma_jax.data.toy.sequences --out data/toy_sequences
python -m sigma_jax.main --config=configs/eval/segmentation_toy.py \
    --workdir=runs/toy/segmentation --config.init=runs/toy

Without `init` the untrained encoder of configs/toy.py is judged alone.
"""

from sigma_jax import settings


def get_config():
  """Model of configs/toy.py, on frames of 8 x 8 tokens."""
  config = settings.default_config()
  config.task = "segmentation"
  config.data.val = "data/toy_sequences"
  config.data.num_frames = 8
  config.data.stride = 1
  config.data.size = 64
  # By 10, as on DAVIS, encoders are hardly told apart here: docs/LOG.md.
  config.segmentation.clusters = 20
  config.model.patch = 8
  config.model.encoder_dim = 96
  config.model.encoder_depth = 4
  config.model.encoder_heads = 4
  return config
