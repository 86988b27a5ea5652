"""SIGMA-MLP, ViT-B, Kinetics-400: the published recipe.

python -m sigma_jax.main --config=configs/k400_vitb.py \
    --workdir=runs/k400_vitb --config.data.train=/data/k400/train.csv
"""

from sigma_jax import settings


def get_config():
  """800 epochs at a global batch of 640 (SIGMA, section 4 and its code)."""
  config = settings.default_config()

  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  config.data.num_frames = 16
  config.data.stride = 4
  config.data.size = 224
  config.data.scales = (1.0, 0.875, 0.75, 0.66)

  config.model.dtype = "bfloat16"
  config.masking.ratio = 0.9
  config.target.kind = "mlp"
  config.target.dim = 256
  config.target.hidden = (1024, 1024, 512)
  config.loss.num_prototypes = 3000
  config.loss.epsilon = 0.05

  config.train.batch_size = 640
  config.train.epochs = 800.0
  config.optimizer.base_lr = 1.5e-4
  config.optimizer.min_lr = 1e-5
  config.optimizer.warmup_epochs = 40.0
  return config
