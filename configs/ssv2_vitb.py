"""SIGMA, ViT-B, Something-Something v2: the published recipe.

python -m sigma_jax.main --config=configs/ssv2_vitb.py \
    --workdir=runs/ssv2_vitb --config.data.train=/data/ssv2/train.csv

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/ssv2_vitb.py:dino \
    --workdir=runs/ssv2_vitb_dino --config.data.train=/data/ssv2/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """800 epochs at a global batch of 512, sharper assignments than K400."""
  config = recipes.pretrain("vitb", target)
  config.data.train = "data/ssv2/train.csv"
  config.data.val = "data/ssv2/val.csv"
  config.data.stride = 2
  config.loss.epsilon = 0.03
  config.train.batch_size = 512
  return config
