"""SIGMA-MLP on the embedded toy clips: minutes on two CPU cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy.py --workdir=runs/toy
"""

from sigma_jax import settings


def get_config():
  """Chosen by the experiments in docs/LOG.md."""
  config = settings.default_config()

  config.data.train = "data/toy/train.csv"
  config.data.val = "data/toy/val.csv"
  config.data.label_sets = "data/toy/label_sets.json"
  config.data.num_frames = 8
  config.data.stride = 1
  config.data.size = 32
  config.data.scales = (1.0, 0.9)

  config.model.tubelet = 2
  config.model.patch = 8
  config.model.encoder_dim = 96
  config.model.encoder_depth = 4
  config.model.encoder_heads = 4
  config.model.decoder_dim = 64
  config.model.decoder_depth = 2
  config.model.decoder_heads = 4
  config.masking.ratio = 0.75

  config.target.hidden = (192, 192)
  config.target.dim = 64
  config.loss.num_prototypes = 64
  config.loss.epsilon = 0.03

  config.train.batch_size = 48
  config.train.steps = 1000
  config.train.log_every = 25
  config.train.checkpoint_every = 200
  config.optimizer.base_lr = 6e-4 * 256 / 48
  config.optimizer.min_lr = 3e-5 * 256 / 48
  config.optimizer.warmup_epochs = 1.0
  return config
