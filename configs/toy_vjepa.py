"""V-JEPA on the embedded toy clips: minutes on two CPU cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy_vjepa.py --workdir=runs/toy_vjepa
"""

from sigma_jax import settings


def get_config():
  """Encoder, clips and length of configs/toy.py; see docs/LOG.md."""
  config = settings.default_config("vjepa")

  config.data.train = "data/toy/train.csv"
  config.data.val = "data/toy/val.csv"
  config.data.label_sets = "data/toy/label_sets.json"
  config.data.num_frames = 8
  config.data.stride = 1
  config.data.size = 32
  config.data.scales = (1.0, 0.9)

  config.model.positions = "sine_3d"
  config.model.key_bias = True
  config.model.init = "vjepa"
  config.model.pool_normed = True
  config.model.tubelet = 2
  config.model.patch = 8
  config.model.encoder_dim = 96
  config.model.encoder_depth = 4
  config.model.encoder_heads = 4
  config.model.decoder_dim = 64
  config.model.decoder_depth = 2
  config.model.decoder_heads = 4

  # Of 4 x 4 x 4 tubes; blocks of 15% are two tubes of a frame.
  config.method.context = (16, 12)
  config.method.targets = (20, 40)
  # A run of a thousand steps has no time for the published .998.
  config.method.momentum = 0.99

  config.train.batch_size = 48
  config.train.steps = 1000
  config.train.log_every = 25
  config.train.checkpoint_every = 200
  config.optimizer.schedule = "stretched"
  config.optimizer.start_lr = 1e-4
  config.optimizer.base_lr = 1e-3
  config.optimizer.min_lr = 1e-6
  config.optimizer.b2 = 0.999
  config.optimizer.weight_decay = 0.04
  config.optimizer.weight_decay_end = 0.4
  config.optimizer.warmup_epochs = 1.0
  config.optimizer.clip_norm = 10.0
  config.optimizer.clip_by = "part"
  config.optimizer.clip_after_warmup = True
  return config
