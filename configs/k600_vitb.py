"""SIGMA, ViT-B, Kinetics-600, by the Kinetics-400 recipe (unpublished).

python -m sigma_jax.main --config=configs/k600_vitb.py \
    --workdir=runs/k600_vitb --config.data.train=/data/k600/train.csv

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/k600_vitb.py:dino \
    --workdir=runs/k600_vitb_dino --config.data.train=/data/k600/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """800 epochs of Kinetics-600 at a global batch of 640."""
  config = recipes.pretrain("vitb", target)
  config.data.train = "data/k600/train.csv"
  config.data.val = "data/k600/val.csv"
  return config
