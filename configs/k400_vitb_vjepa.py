"""V-JEPA, ViT-B, Kinetics-400: to stand beside SIGMA's and VideoMAE's ViT-B.

python -m sigma_jax.main --config=configs/k400_vitb_vjepa.py \
    --workdir=runs/k400_vitb_vjepa --config.data.train=/data/k400/train.csv
"""

from sigma_jax import recipes


def get_config():
  """As many clips of the same data as SIGMA's ViT-B sees.

  No ViT-B was published. The rest is the recipe of ViT-L; the warm-up is the
  same share of the run. Not trained by us.
  """
  config = recipes.vjepa("vitb")
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  config.train.epochs = 800.0
  config.optimizer.warmup_epochs = 800.0 * 12_000 / 90_000
  return config
