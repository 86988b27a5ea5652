"""SIGMA, ViT-L, Kinetics-400: the recipe of ViT-B, unpublished.

python -m sigma_jax.main --config=configs/k400_vitl.py \
    --workdir=runs/k400_vitl --config.data.train=/data/k400/train.csv

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/k400_vitl.py:dino \
    --workdir=runs/k400_vitl_dino --config.data.train=/data/k400/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """As k400_vitb; activations are recomputed in the backward pass."""
  config = recipes.pretrain("vitl", target)
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  config.model.remat = "full"
  return config
