"""What runs on the embedded toy clips have in common: minutes on two CPU cores.

All were chosen by the experiments in docs/LOG.md.
"""

import ml_collections

from sigma_jax import settings
from sigma_jax.recipes import judging, pretraining

_BATCH = 48


def toy(method: str = "masked") -> ml_collections.ConfigDict:
  """A pre-training: clips, encoder, decoder and length of configs/toy.py.

  Args:
    method: a name of `sigma_jax.methods`.
  """
  config = settings.default_config(method)
  judging.set_data(config, "toy")
  _set_sizes(config)
  config.data.scales = (1.0, 0.9)
  config.model.decoder_dim = 64
  config.model.decoder_depth = 2
  config.model.decoder_heads = 4
  config.train.steps = 1000
  config.train.checkpoint_every = 200
  config.evaluate.every = 250
  config.evaluate.clips = 400
  config.optimizer.warmup_epochs = 1.0
  return config


def toy_sigma() -> ml_collections.ConfigDict:
  """SIGMA with the MLP target: the demo's setting."""
  config = toy()
  config.masking.ratio = 0.75
  config.target.hidden = (192, 192)
  config.target.dim = 64
  config.loss.num_prototypes = 64
  config.loss.epsilon = 0.03
  config.optimizer.base_lr = 6e-4 * 256 / _BATCH
  config.optimizer.min_lr = 3e-5 * 256 / _BATCH
  return config


def toy_vjepa() -> ml_collections.ConfigDict:
  """V-JEPA with masks and rates for clips of 4 x 4 x 4 tubes."""
  config = toy("vjepa")
  pretraining.set_vjepa(config)
  # Blocks of 15% are two tubes of a frame.
  config.method.context = (16, 12)
  config.method.targets = (20, 40)
  # A run of a thousand steps has no time for the published .998.
  config.method.momentum = 0.99
  config.optimizer.start_lr = 1e-4
  config.optimizer.base_lr = 1e-3
  return config


def toy_swav() -> ml_collections.ConfigDict:
  """SwAV on clips, with a queue, since 48 clips are fewer than prototypes."""
  config = _toy_views("clip_swav")
  config.method.dim = 64
  config.method.prototypes = 64
  config.method.queue = 192
  config.method.queue_epochs = 1.0
  return config


def toy_dino() -> ml_collections.ConfigDict:
  """DINO on clips, its schedules shortened to a run of a thousand steps."""
  config = _toy_views("clip_dino")
  config.method.bottleneck = 64
  config.method.outputs = 256
  config.method.temperature_epochs = 3
  config.method.momentum = 0.99
  config.method.blur_prob = (0.0, 0.0, 0.0)
  config.method.solarize_prob = (0.0, 0.0, 0.0)
  return config


def _toy_views(method: str) -> ml_collections.ConfigDict:
  config = toy(method)
  pretraining.set_views(config)
  config.data.crop = "random_resized"
  config.data.min_area = 0.5
  config.method.hidden = 192
  # Hue tells toy classes apart.
  config.method.jitter = (0.4, 0.4, 0.2, 0.0)
  config.method.grey_prob = 0.0
  config.method.blur_prob = (0.0, 0.0, 0.0)
  config.method.freeze_epochs = 0.5
  config.optimizer.clip_norm = 1.0
  config.optimizer.base_lr = 5e-4 * 256 / _BATCH
  config.optimizer.min_lr = 1e-5 * 256 / _BATCH
  return config


def toy_mme() -> ml_collections.ConfigDict:
  """MME with the encoder, decoder and rates of SIGMA's toy run."""
  config = toy("mme")
  config.masking.ratio = 0.75
  # To the frame after a tube: finding motion is most of a toy step.
  config.method.steps = 2
  config.method.head_hidden = 128
  config.optimizer.base_lr = 6e-4 * 256 / _BATCH
  config.optimizer.min_lr = 3e-5 * 256 / _BATCH
  return config


def toy_supervised(
  label_set: str, trains: str = "all"
) -> ml_collections.ConfigDict:
  """Fine-tuning (all) or a probe (head) on the toy clips of configs/toy.py.

  Raises:
    ValueError: the toy clips have no such labels.
  """
  if label_set not in ("motion", "appearance"):
    raise ValueError(
      f"the toy clips' labels are motion and appearance, not {label_set!r}"
    )
  config = judging.supervised(trains)
  judging.set_data(config, "toy")
  _set_sizes(config)
  config.data.samples = 1
  config.data.min_area = 0.85
  config.model.dtype = "float32"
  config.supervised.label_set = label_set
  config.supervised.views = (1, 1)
  # Colours and directions are what is to be told, and steps are few.
  config.augment.num_ops = 0
  config.augment.erase_prob = 0.0
  config.augment.mixup = 0.0
  config.augment.cutmix = 0.0
  config.augment.label_smoothing = 0.0
  config.train.steps = 150 if trains == "all" else 100
  config.train.checkpoint_every = 50
  config.optimizer.base_lr = 3e-3 * 256 / _BATCH
  config.optimizer.warmup_epochs = 0.1  # 12 steps on the toy clips
  return config


def _set_sizes(config: ml_collections.ConfigDict) -> None:
  config.data.num_frames = 8
  config.data.stride = 1
  config.data.size = 32
  config.model.tubelet = 2
  config.model.patch = 8
  config.model.encoder_dim = 96
  config.model.encoder_depth = 4
  config.model.encoder_heads = 4
  config.train.batch_size = _BATCH
  config.train.log_every = 25
