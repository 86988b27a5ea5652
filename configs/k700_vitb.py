"""SIGMA, ViT-B, Kinetics-700, by the Kinetics-400 recipe (unpublished).

python -m sigma_jax.main --config=configs/k700_vitb.py \
    --workdir=runs/k700_vitb --config.data.train=/data/k700/train.csv

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/k700_vitb.py:dino \
    --workdir=runs/k700_vitb_dino --config.data.train=/data/k700/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """800 epochs of Kinetics-700 at a global batch of 640."""
  config = recipes.pretrain("vitb", target)
  config.data.train = "data/k700/train.csv"
  config.data.val = "data/k700/val.csv"
  return config
