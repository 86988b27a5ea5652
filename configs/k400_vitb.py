"""SIGMA, ViT-B, Kinetics-400: the published recipe.

python -m sigma_jax.main --config=configs/k400_vitb.py \
    --workdir=runs/k400_vitb --config.data.train=/data/k400/train.csv

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/k400_vitb.py:dino \
    --workdir=runs/k400_vitb_dino --config.data.train=/data/k400/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """800 epochs at a global batch of 640 (SIGMA, section 4 and its code)."""
  config = recipes.pretrain("vitb", target)
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  return config
