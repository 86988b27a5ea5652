"""What the published pre-trainings share; `configs/` adds the rest.

Sources: SIGMA (https://arxiv.org/abs/2407.15447), its code, and the model sizes
of VideoMAE (https://arxiv.org/abs/2203.12602).
"""

import difflib

import ml_collections

from sigma_jax import settings

# Encoder width, blocks, heads; decoder width, heads.
_SIZES = {
  "vits": (384, 12, 6, 192, 3),
  "vitb": (768, 12, 12, 384, 6),
  "vitl": (1024, 24, 16, 512, 8),
  "vith": (1280, 32, 16, 640, 8),
  "vitg": (1408, 40, 16, 512, 8),
}


def pretrain(size: str, target: str) -> ml_collections.ConfigDict:
  """The recipe of K400 ViT-B, for a model of `size`.

  Args:
    size: vits, vitb, vitl, vith or vitg.
    target: "mlp" or "dino", which is what stands after the colon of
      `--config=configs/k400_vitb.py:dino`.

  Raises:
    ValueError: any other target.
  """
  config = settings.default_config()
  _set_encoder(config, size)
  config.data.scales = (1.0, 0.875, 0.75, 0.66)
  config.masking.ratio = 0.9

  *_, config.model.decoder_dim, config.model.decoder_heads = _SIZES[size]
  config.model.decoder_depth = 4

  _set_target(config, target)
  config.loss.num_prototypes = 3000
  config.loss.epsilon = 0.05

  config.train.batch_size = 640
  config.train.epochs = 800.0
  config.optimizer.base_lr = 1.5e-4
  config.optimizer.min_lr = 1e-5
  config.optimizer.warmup_epochs = 40.0
  return config


def motion_guided(size: str, target: str) -> ml_collections.ConfigDict:
  """MGMAE's recipe, or SIGMA's with MGMAE's masks.

  From the scripts of https://github.com/MCG-NJU/MGMAE at af7beb9: 384 videos a
  step, four clips of each, rates by videos; 200 epochs of the list, which that
  code calls 800. Masks go the right way, not theirs: see `masking.direction`.

  Args:
    size: as for `pretrain`.
    target: pixel, which is MGMAE; mlp or dino, SIGMA's own recipe.
  """
  config = pretrain(size, "mlp" if target == "pixel" else target)
  config.masking.kind = "motion"
  if target == "pixel":
    config.target.kind = "pixel"
    config.loss.kind = "l2"
    config.data.samples = 4
    config.train.batch_size = 384
    config.train.epochs = 200.0
    config.optimizer.base_lr = 1e-3
    config.optimizer.warmup_epochs = 20.0
  return config


def mme(size: str) -> ml_collections.ConfigDict:
  """MME's recipe of K400, for a model of `size`.

  From the script of https://github.com/XinyuSun/MME at 17689a9: a decoder of
  one block, 70% masked, rates by clips; its 1601 epochs are 1600 here.

  Args:
    size: vitb or vitl; the decoder is 192 wide in both.
  """
  plain = pretrain(size, "mlp")
  config = settings.default_config("mme")
  for section in ("data", "model", "optimizer", "train"):
    config[section] = plain[section]
  config.masking.ratio = 0.7
  config.model.decoder_dim = 192
  config.model.decoder_depth = 1
  config.model.decoder_heads = {"vitb": 6, "vitl": 8}[size]
  config.train.batch_size = 1024
  config.train.epochs = 1600.0
  return config


def vjepa(size: str) -> ml_collections.ConfigDict:
  """V-JEPA's recipe of ViT-L at 224 pixels, for a model of `size`.

  From its configs and code, https://github.com/facebookresearch/jepa at
  51c59d5. There the 16 frames are spread over 64 by int(linspace), up to four
  frames apart from ours, and the data are three sets mixed.

  Args:
    size: vits, vitb, vitl or vith.
  """
  config = settings.default_config("vjepa")
  config.data.crop = "random_resized"
  config.data.min_area = 0.3
  _set_encoder(config, size)
  config.model.decoder_dim = 384
  config.model.decoder_depth = 12
  config.model.decoder_heads = config.model.encoder_heads

  set_vjepa(config)
  config.train.batch_size = 3072
  config.optimizer.start_lr = 2e-4
  config.optimizer.base_lr = 6.25e-4
  return config


def set_vjepa(config: ml_collections.ConfigDict) -> None:
  """Changes what V-JEPA does otherwise than VideoMAE, whatever the size."""
  config.model.positions = "sine_3d"
  config.model.key_bias = True
  config.model.init = "vjepa"
  config.model.pool_normed = True
  config.optimizer.schedule = "stretched"
  config.optimizer.min_lr = 1e-6
  config.optimizer.b2 = 0.999
  config.optimizer.weight_decay = 0.04
  config.optimizer.weight_decay_end = 0.4
  config.optimizer.clip_norm = 10.0
  config.optimizer.clip_by = "part"
  config.optimizer.clip_after_warmup = True


def clip_swav(size: str) -> ml_collections.ConfigDict:
  """SwAV on clips, for a model of `size`: crops and losses as published.

  From https://github.com/facebookresearch/SlowFast at 287ec00 (a ResNet, LARS)
  with the optimiser of DINO's ViT-B, LayerNorm in the head, and a queue, since
  a batch is smaller than the number of prototypes.

  Args:
    size: as for `pretrain`.
  """
  config = _views(size, "clip_swav")
  config.data.min_area, config.data.max_area = 0.2, 0.766
  config.method.jitter = (0.6, 0.6, 0.6, 0.15)
  config.method.queue = 3840
  return config


def clip_dino(size: str) -> ml_collections.ConfigDict:
  """DINO on clips, for a model of `size`: DINO's recipe of ViT-B.

  From https://github.com/facebookresearch/dino at 7c446df, with fewer outputs,
  and without blur and solarisation, as https://arxiv.org/abs/2112.01514 was
  trained on video. No drop path.

  Args:
    size: as for `pretrain`.
  """
  config = _views(size, "clip_dino")
  config.data.min_area = 0.4
  config.method.outputs = 8192
  config.method.temperature_epochs = 50
  config.method.freeze_epochs = 3.0
  config.method.blur_prob = (0.0, 0.0, 0.0)
  config.method.solarize_prob = (0.0, 0.0, 0.0)
  return config


def _views(size: str, method: str) -> ml_collections.ConfigDict:
  """What both have in common: 512 videos a step, DINO's optimiser."""
  config = settings.default_config(method)
  config.data.crop = "random_resized"
  config.data.flip = True
  _set_encoder(config, size)
  set_views(config)
  config.train.batch_size = 512
  config.train.epochs = 200.0
  config.optimizer.base_lr = 7.5e-4
  config.optimizer.min_lr = 2e-6 * 256 / 512
  config.optimizer.warmup_epochs = 10.0
  return config


def set_views(config: ml_collections.ConfigDict) -> None:
  """Changes what clip_swav and clip_dino share, whatever the size."""
  config.model.pool_normed = True
  config.optimizer.b2 = 0.999
  config.optimizer.weight_decay = 0.04
  config.optimizer.weight_decay_end = 0.4
  config.optimizer.clip_norm = 0.3
  config.optimizer.clip_by = "parameter"


def _set_encoder(config: ml_collections.ConfigDict, size: str) -> None:
  """The clips that all take, and the encoder."""
  config.data.num_frames = 16
  config.data.stride = 4
  config.data.size = 224
  width, depth, heads, *_ = _SIZES[size]
  config.model.dtype = "bfloat16"
  config.model.encoder_dim = width
  config.model.encoder_depth = depth
  config.model.encoder_heads = heads


def _set_target(config: ml_collections.ConfigDict, target: str) -> None:
  if target == "mlp":
    config.target.kind = "mlp"
    config.target.dim = 256
    config.target.hidden = (1024, 1024, 512)
  elif target == "dino":
    config.target.kind = "dino"
    config.target.variant = "dino_vitb16"
    config.target.weights = "weights/dino_vitbase16_pretrain.pth"
    # The published code runs the teacher in float32; it sees every tube, ten
    # times what the encoder sees, so its products are most of the step's.
    config.target.dtype = "bfloat16"
  else:
    near = difflib.get_close_matches(target, ("mlp", "dino"), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
      f"after the config's colon stands mlp or dino, got {target!r}{hint}"
    )
