"""MME, ViT-B, Something-Something v2: shape and trajectories of hidden tubes.

python -m sigma_jax.main --config=configs/ssv2_vitb_mme.py \
    --workdir=runs/ssv2_vitb_mme --config.data.train=/data/ssv2/train.csv
"""

from sigma_jax import recipes


def get_config():
  """400 epochs, as published; of that run no script was, and not trained by us.

  The stride is SIGMA's on this data, and trajectories are as long as from a
  tube's first frame to its second one, as they are on K400.
  """
  config = recipes.mme("vitb")
  config.data.train = "data/ssv2/train.csv"
  config.data.val = "data/ssv2/val.csv"
  config.data.stride = 2
  config.method.steps = 2
  config.train.epochs = 400.0
  return config
