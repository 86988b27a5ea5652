"""VideoMAE, ViT-B, Kinetics-400: the baseline, under SIGMA's recipe.

python -m sigma_jax.main --config=configs/k400_vitb_videomae.py \
    --workdir=runs/k400_vitb_videomae --config.data.train=/data/k400/train.csv
"""

from sigma_jax import recipes


def get_config():
  """As k400_vitb, but regressing each masked tube's normalised pixels."""
  config = recipes.pretrain("vitb", "mlp")
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  config.target.kind = "pixel"
  config.loss.kind = "l2"
  return config
