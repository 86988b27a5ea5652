"""SIGMA, ViT-g of a billion parameters, Kinetics-400: unpublished.

python -m sigma_jax.main --config=configs/k400_vitg.py \
    --workdir=runs/k400_vitg --config.data.train=/data/k400/train.csv

Sixteen bytes a parameter do not fit a chip of 16 GB: parameters and optimiser
state are split over several, see `mesh.fsdp`.

With the DINO ViT-B/16 teacher in place of the learnt MLP:

python -m sigma_jax.main --config=configs/k400_vitg.py:dino \
    --workdir=runs/k400_vitg_dino --config.data.train=/data/k400/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth
"""

from sigma_jax import recipes


def get_config(target="mlp"):
  """As k400_vitb, with patches of 14 pixels as ViT-g has them (VideoMAE V2,
  https://arxiv.org/abs/2303.16727), but an MLP ratio of 4 and not 48/11."""
  config = recipes.pretrain("vitg", target)
  config.model.patch = 14
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  config.model.remat = "full"
  return config
