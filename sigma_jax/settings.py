"""Every option of a run: frozen dataclasses, defaults, checks.

This file is the one list of options. A config file calls `default_config()`
and changes values; `Settings.from_config` turns the finished ml_collections
config into the immutable `Settings` that the rest of the code reads, and says
in one line what is wrong when a key is unknown or a value is impossible.
"""

import dataclasses
import hashlib
import json
from typing import Any

import ml_collections

from sigma_jax import freeze

# The image ViTs that can be the teacher; `models.variants` has their facts.
TEACHERS = (
  *("dino_vits16", "dino_vitb16"),
  *("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14"),
  *("dinov2_vits14_reg", "dinov2_vitb14_reg", "dinov2_vitl14_reg"),
  *("dinov3_vits16", "dinov3_vitb16", "dinov3_vitl16"),
)


@dataclasses.dataclass(frozen=True)
class Data:
  """Where clips come from and how they are cut.

  `train` and `val` are manifests, one `path label` a line; relative paths in
  them are taken from `root`, or from the manifest's folder where root is empty.
  """

  train: str = ""
  val: str = ""
  root: str = ""
  # JSON that maps the manifest's label to one class per label set (toy data
  # has two: appearance and motion). Empty: the label is the only set.
  label_sets: str = ""
  num_frames: int = 16
  stride: int = 4  # frames between two sampled frames
  size: int = 224  # side of the square model input, pixels
  crop: str = "multiscale"  # multiscale (training recipe) or center
  scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
  flip: bool = False  # never for pre-training on direction-sensitive data
  workers: int = 0  # parallel decodes per host; 0: one per core
  prefetch: int = 4  # batches held ready on the host
  # The run stops once more than this share of the files tried is unreadable.
  max_bad_share: float = 0.02
  file_timeout: float = 30.0  # seconds allowed for decoding one clip

  def __post_init__(self):
    freeze.choice("data.crop", self.crop, ("multiscale", "center"))
    freeze.positive(
      "data", self, "num_frames", "stride", "size", "file_timeout"
    )
    if not self.scales or not all(0 < s <= 1 for s in self.scales):
      raise ValueError(f"data.scales must lie in (0, 1], got {self.scales}")
    if self.workers < 0 or self.prefetch < 0:
      raise ValueError(
        "data.workers and data.prefetch must not be negative, got "
        f"{self.workers} and {self.prefetch}"
      )
    if not 0 <= self.max_bad_share <= 1:
      raise ValueError(
        f"data.max_bad_share must lie in [0, 1], got {self.max_bad_share}"
      )


@dataclasses.dataclass(frozen=True)
class Model:
  """The masked video ViT: encoder on visible tubes, small decoder on all."""

  tubelet: int = 2  # frames per tube
  patch: int = 16  # pixels per side of a tube
  encoder_dim: int = 768
  encoder_depth: int = 12
  encoder_heads: int = 12
  decoder_dim: int = 384
  decoder_depth: int = 4
  decoder_heads: int = 6
  mlp_ratio: int = 4
  norm_epsilon: float = 1e-6
  dtype: str = "float32"  # of matrix products; all else stays float32
  # What the backward pass computes again to save memory: none; light, norms,
  # GELU and sums; dots, all but products with weights; full, every block.
  remat: str = "light"

  def __post_init__(self):
    freeze.choice("model.dtype", self.dtype, ("float32", "bfloat16"))
    freeze.choice("model.remat", self.remat, ("none", "light", "dots", "full"))
    freeze.positive(
      "model", self, "tubelet", "patch", "mlp_ratio", "norm_epsilon"
    )
    for side in ("encoder", "decoder"):
      dim = getattr(self, f"{side}_dim")
      heads = getattr(self, f"{side}_heads")
      freeze.positive(
        "model", self, f"{side}_dim", f"{side}_depth", f"{side}_heads"
      )
      if dim % heads:
        raise ValueError(
          f"model.{side}_dim must be divisible by model.{side}_heads, "
          f"got {dim} and {heads}"
        )


@dataclasses.dataclass(frozen=True)
class Masking:
  """Which tubes the encoder does not see."""

  kind: str = "tube"  # tube: one spatial mask for all frames; random: free
  ratio: float = 0.9

  def __post_init__(self):
    freeze.choice("masking.kind", self.kind, ("tube", "random"))
    if not 0 < self.ratio < 1:
      raise ValueError(f"masking.ratio must lie in (0, 1), got {self.ratio}")


@dataclasses.dataclass(frozen=True)
class Target:
  """The projection network whose embedding of the masked tubes is predicted."""

  kind: str = "mlp"  # mlp, pixel, dino
  dim: int = 256  # p of the mlp alone: the tube or the variant sets others'
  hidden: tuple[int, ...] = (1024, 1024, 512)  # of the mlp
  variant: str = "dino_vitb16"  # of TEACHERS, where kind is dino
  weights: str = ""  # its weights: .pth, .safetensors, its folder, or .npz
  dtype: str = "float32"  # of its weights and matrix products

  def __post_init__(self):
    freeze.choice("target.kind", self.kind, ("mlp", "pixel", "dino"))
    freeze.choice("target.variant", self.variant, TEACHERS)
    freeze.choice("target.dtype", self.dtype, ("float32", "bfloat16"))
    freeze.positive("target", self, "dim")
    if not all(width > 0 for width in self.hidden):
      raise ValueError(f"target.hidden must be positive, got {self.hidden}")


@dataclasses.dataclass(frozen=True)
class Loss:
  """How the prediction is judged.

  `assignment` is SIGMA: Sinkhorn-balanced prototype assignments predicted
  across. `l2` regresses the target's features: VideoMAE where the target is
  pixels, the collapse ablation where it is learnt.
  """

  kind: str = "assignment"
  num_prototypes: int = 3000  # k
  epsilon: float = 0.05  # entropy regularisation of the transport problem
  rounds: int = 10  # Sinkhorn rounds
  temperature: float = 0.1  # of the predicted distribution
  # hard: argmax of the transport plan, as the published code trains;
  # soft: the plan itself, as the paper's equation reads.
  labels: str = "hard"
  # exp(scores / epsilon) of all tubes: keep it between Sinkhorn's rounds,
  # recompute it a tile at a time in memory that does not grow with the batch,
  # or auto: keep it while it is small.
  kernels: str = "auto"

  def __post_init__(self):
    freeze.choice("loss.kind", self.kind, ("assignment", "l2"))
    freeze.choice("loss.labels", self.labels, ("hard", "soft"))
    freeze.choice("loss.kernels", self.kernels, ("auto", "keep", "recompute"))
    freeze.positive("loss", self, "num_prototypes", "epsilon", "rounds")
    freeze.positive("loss", self, "temperature")


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """AdamW; learning rates are per 256 clips and scale with the batch."""

  base_lr: float = 1.5e-4
  min_lr: float = 1e-5
  b1: float = 0.9
  b2: float = 0.95
  weight_decay: float = 0.05
  warmup_epochs: float = 40.0
  clip_norm: float = 0.0  # global gradient norm; 0 switches clipping off

  def __post_init__(self):
    if self.base_lr < 0 or self.min_lr < 0:
      raise ValueError(
        "optimizer.base_lr and optimizer.min_lr must not be negative, "
        f"got {self.base_lr} and {self.min_lr}"
      )
    if not (0 <= self.b1 < 1 and 0 <= self.b2 < 1):
      raise ValueError(
        "optimizer.b1 and optimizer.b2 must lie in [0, 1), got "
        f"{self.b1} and {self.b2}"
      )
    if min(self.weight_decay, self.warmup_epochs, self.clip_norm) < 0:
      raise ValueError(
        "optimizer.weight_decay, warmup_epochs and clip_norm must not be "
        f"negative, got {self.weight_decay}, {self.warmup_epochs} and "
        f"{self.clip_norm}"
      )


@dataclasses.dataclass(frozen=True)
class Train:
  """Length of the run and what it leaves behind."""

  batch_size: int = 640  # clips over all devices
  # Parts that a batch is run in, to save memory. Assignments stay global; the
  # forward pass runs twice, a third more work a step.
  accumulate: int = 1
  epochs: float = 800.0
  steps: int = 0  # where positive, sets the length instead of epochs
  log_every: int = 50  # steps
  checkpoint_every: int = 1000  # steps
  keep: int = 3  # newest checkpoints kept
  keep_every: int = 0  # steps; checkpoints at its multiples stay for good

  def __post_init__(self):
    freeze.positive(
      "train", self, "batch_size", "log_every", "checkpoint_every"
    )
    freeze.positive("train", self, "keep", "accumulate")
    if self.steps <= 0 and self.epochs <= 0:
      raise ValueError(
        f"train.epochs or train.steps must be positive, got {self.epochs} "
        f"and {self.steps}"
      )


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Devices as a grid: batch over data x fsdp, parameters over fsdp."""

  data: int = -1  # -1: whatever the other axis leaves
  fsdp: int = 1


@dataclasses.dataclass(frozen=True)
class Probe:
  """Frozen evaluation: linear probe and kNN on mean-pooled features."""

  batch_size: int = 64
  # Clips taken of each training video, the first centred in time, the others
  # at random starts. Validation videos give one centred clip.
  train_samples: int = 2
  layer: int = 0  # blocks run before pooling; 0: all of them
  # L2 penalties tried; the best on a fifth of the training clips is used.
  penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
  knn_k: int = 200
  knn_temperature: float = 0.07
  random_baseline: bool = True  # the same protocol on an untrained encoder
  bootstrap: int = 1000  # resamples behind the confidence interval

  def __post_init__(self):
    freeze.positive("probe", self, "batch_size", "train_samples", "knn_k")
    freeze.positive("probe", self, "knn_temperature", "bootstrap")
    if not self.penalties or min(self.penalties) < 0:
      raise ValueError(
        "probe.penalties needs one or more values from 0 up, got "
        f"{self.penalties}"
      )


@dataclasses.dataclass(frozen=True)
class Settings:
  """One run. Sections mirror the config's; see each class for its keys."""

  task: str = "pretrain"  # pretrain or probe
  seed: int = 0
  # Workdir whose parameters a fresh pre-training starts from, or that the
  # probe judges. A .pth becomes one: python -m sigma_jax.interop import.
  init: str = ""
  data: Data = Data()
  model: Model = Model()
  masking: Masking = Masking()
  target: Target = Target()
  loss: Loss = Loss()
  optimizer: Optimizer = Optimizer()
  train: Train = Train()
  mesh: Mesh = Mesh()
  probe: Probe = Probe()

  def __post_init__(self):
    freeze.choice("task", self.task, ("pretrain", "probe"))
    if self.data.num_frames % self.model.tubelet:
      raise ValueError(
        "data.num_frames must be divisible by model.tubelet, got "
        f"{self.data.num_frames} and {self.model.tubelet}"
      )
    if self.data.size % self.model.patch:
      raise ValueError(
        "data.size must be divisible by model.patch, got "
        f"{self.data.size} and {self.model.patch}"
      )
    if self.target.kind == "pixel" and self.loss.kind != "l2":
      raise ValueError("target.kind 'pixel' needs loss.kind 'l2' (VideoMAE)")

  @property
  def grid(self) -> tuple[int, int, int]:
    """Tubes along time, height and width."""
    side = self.data.size // self.model.patch
    return (self.data.num_frames // self.model.tubelet, side, side)

  @classmethod
  def from_config(cls, config: ml_collections.ConfigDict | dict) -> "Settings":
    """Checks names and types against the dataclasses and freezes the run.

    Raises:
      ValueError: one line naming the key and the nearest valid one.
    """
    if isinstance(config, ml_collections.ConfigDict):
      config = config.to_dict()
    return freeze.build(cls, config)

  def to_dict(self) -> dict[str, Any]:
    """Nested plain values, as JSON stores them (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  def fingerprint(self) -> str:
    """Twelve hex digits that change with any option."""
    text = json.dumps(self.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def default_config() -> ml_collections.ConfigDict:
  """The defaults as a locked, typed ConfigDict for config files to change."""
  config = ml_collections.ConfigDict(dataclasses.asdict(Settings()))
  return config.lock()
