"""SwAV on clips, ViT-B, Kinetics-400: to stand beside SIGMA's ViT-B.

python -m sigma_jax.main --config=configs/k400_vitb_swav.py \
    --workdir=runs/k400_vitb_swav --config.data.train=/data/k400/train.csv
"""

from sigma_jax import recipes


def get_config():
  """Not trained by us. The encoder sees every token of two views a video.

  `--config.method.local_views=6` adds local views.
  """
  config = recipes.clip_swav("vitb")
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  return config
