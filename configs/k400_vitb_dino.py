"""DINO on clips, ViT-B, Kinetics-400: to stand beside SIGMA's ViT-B.

The method of https://arxiv.org/abs/2104.14294, trained from scratch; not SIGMA
with the DINO target, which is configs/k400_vitb.py:dino.

python -m sigma_jax.main --config=configs/k400_vitb_dino.py \
    --workdir=runs/k400_vitb_clip_dino --config.data.train=/data/k400/train.csv
"""

from sigma_jax import recipes


def get_config():
  """Not trained by us. Student and teacher see every token of two views.

  `--config.method.local_views=8` adds local views, which the student sees.
  """
  config = recipes.clip_dino("vitb")
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  return config
