"""SIGMA, ViT-S, Something-Something v2: the published recipe.

python -m sigma_jax.main --config=configs/ssv2_vits.py \
    --workdir=runs/ssv2_vits --config.data.train=/data/ssv2/train.csv

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/ssv2_vits.py:dino \
    --workdir=runs/ssv2_vits_dino --config.data.train=/data/ssv2/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """2400 epochs at a global batch of 128."""
  config = recipes.pretrain("vits", target)
  config.data.train = "data/ssv2/train.csv"
  config.data.val = "data/ssv2/val.csv"
  config.data.stride = 2
  config.train.batch_size = 128
  config.train.epochs = 2400.0
  return config
