"""V-JEPA, ViT-L, by the published recipe, on Kinetics-400.

python -m sigma_jax.main --config=configs/k400_vitl_vjepa.py \
    --workdir=runs/k400_vitl_vjepa --config.data.train=/data/k400/train.csv

The published run drew from Kinetics-710, Something-Something v2 and HowTo100M:
see mix_vitb_vjepa.py, and `data.mixture`.
"""

from sigma_jax import recipes


def get_config():
  """90,000 steps of 3072 clips, the first 12,000 of them a warm-up."""
  config = recipes.vjepa("vitl")
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  config.train.steps = 90_000
  # In epochs of the list: of Kinetics-400's 240,436 videos it is 12,000 steps.
  config.optimizer.warmup_epochs = 12_000 * 3072 / 240_436
  return config
