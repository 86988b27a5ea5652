"""Segmentation of the toy clips, whose objects are known: a minute on CPU.

python -m sigma_jax.data.toy_sequences --out data/toy_sequences
python -m sigma_jax.main --config=configs/eval/segmentation_toy.py \
    --workdir=runs/toy/segmentation --config.init=runs/toy

Without `init` the untrained encoder of configs/toy.py is judged alone.
"""

from sigma_jax import settings


def get_config():
  """Model of configs/toy.py; enlarged frames, as 4 x 4 tokens are coarse."""
  config = settings.default_config()
  config.task = "segmentation"
  config.data.val = "data/toy_sequences"
  config.data.num_frames = 8
  config.data.stride = 1
  config.data.size = 64
  config.model.patch = 8
  config.model.encoder_dim = 96
  config.model.encoder_depth = 4
  config.model.encoder_heads = 4
  return config
