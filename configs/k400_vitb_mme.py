"""MME, ViT-B, Kinetics-400: shape and tracks of hidden tubes, as published.

python -m sigma_jax.main --config=configs/k400_vitb_mme.py \
    --workdir=runs/k400_vitb_mme --config.data.train=/data/k400/train.csv

Trajectories are found on the device; nothing is computed beforehand. What its
code does otherwise is under --config.method, see sigma_jax/methods/mme.py.
"""

from sigma_jax import recipes


def get_config():
  """1024 clips a step, 1600 epochs; not trained by us."""
  config = recipes.mme("vitb")
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  return config
