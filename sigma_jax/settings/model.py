"""The video model, its mask, its target and its loss."""

import dataclasses

from sigma_jax import freeze

# The image ViTs that can be the teacher; `models.variants` has their facts.
TEACHERS = (
  *("dino_vits16", "dino_vitb16"),
  *("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14"),
  *("dinov2_vits14_reg", "dinov2_vitb14_reg", "dinov2_vitl14_reg"),
  *("dinov3_vits16", "dinov3_vitb16", "dinov3_vitl16"),
)


POSITIONS = ("sine", "sine_3d", "sine_3d_quarter", "rotary")


# Options of `Model` that say how it is computed, not which model it is.
COMPUTED = ("dtype", "remat", "attention")


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
  # Width inside the encoder's MLPs where it is no whole multiple of the
  # encoder's (V-JEPA 2's ViT-g: 6144 of 1408); 0: mlp_ratio times it.
  encoder_mlp_dim: int = 0
  # Where tokens stand. sine: a 1-D table over all tubes in order, VideoMAE's.
  # sine_3d: V-JEPA's, a third of the channels for time, row and column each;
  # sine_3d_quarter: a half, a quarter, a quarter. rotary: V-JEPA 2's, by which
  # attention turns queries and keys: see models/positions.py.
  positions: str = "sine"
  key_bias: bool = False  # a bias on attention's keys too; V-JEPA's have it
  norm_epsilon: float = 1e-6
  # Which tokens frozen evaluations average: those before the encoder's last
  # LayerNorm, as of VideoMAE and SIGMA, or (true) those after it, V-JEPA's.
  pool_normed: bool = False
  # Fresh weights: published, as SIGMA's code draws them; xavier, every linear
  # map xavier-uniform with zero biases; vjepa, normal of deviation 0.02;
  # vjepa2, that with the ends of block i's branches divided by sqrt(2 i): see
  # models/initial.py.
  init: str = "published"
  # Of fine-tuning and evaluation: tubes along time, height and width, such as
  # (8, 14, 14), whose position table is interpolated to that of the clips: of
  # sine, bicubic in space and linear in time; of the 3-D tables, linear in all.
  # Empty: the formula's own rows for the clips' tubes, which SIGMA and VideoMAE
  # publish; V-JEPA's own code interpolates. A run that interpolates has it
  # here, and what it leaves is read with the same table.
  table_grid: tuple[int, ...] = ()
  # Of matrix products' operands; all else stays float32. float32 is exact on
  # every device, and slow on accelerators: see sigma_jax/precision.py.
  dtype: str = "float32"
  # What the backward pass computes again to save memory: none; light, norms,
  # GELU and sums; dots, all but products with weights; full, every block.
  remat: str = "light"
  # auto: the best of the platform, which on a TPU is a Pallas kernel and on a
  # GPU cuDNN's; xla: XLA's own everywhere. See models/attention.py.
  attention: str = "auto"

  def computed_as(self, other: "Model") -> "Model":
    """This model, computed in the way of another: see `COMPUTED`."""
    ways = {name: getattr(other, name) for name in COMPUTED}
    return dataclasses.replace(self, **ways)

  def __post_init__(self):
    freeze.choice(
      "model.init", self.init, ("published", "xavier", "vjepa", "vjepa2")
    )
    freeze.choice("model.positions", self.positions, POSITIONS)
    freeze.choice("model.dtype", self.dtype, ("float32", "bfloat16"))
    freeze.choice("model.attention", self.attention, ("auto", "xla"))
    freeze.choice("model.remat", self.remat, ("none", "light", "dots", "full"))
    if self.table_grid and (
      len(self.table_grid) != 3 or min(self.table_grid) < 1
    ):
      raise ValueError(
        "model.table_grid must be three numbers from 1 up, tubes along time, "
        f"height and width, or empty; got {self.table_grid}"
      )
    if self.table_grid and self.positions == "rotary":
      raise ValueError(
        f"model.table_grid is {self.table_grid}, but model.positions 'rotary' "
        "have no table: leave it empty"
      )
    if self.encoder_mlp_dim < 0:
      raise ValueError(
        "model.encoder_mlp_dim must not be negative, got "
        f"{self.encoder_mlp_dim}"
      )
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
      if self.positions == "rotary" and (dim // heads < 6 or dim // heads % 2):
        raise ValueError(
          f"model.{side}_dim / model.{side}_heads must be even and at least 6 "
          f"where model.positions is 'rotary', got {dim} / {heads}"
        )


@dataclasses.dataclass(frozen=True)
class Masking:
  """Which tubes the encoder does not see."""

  # tube: one spatial mask for all frames; random: free; motion: MGMAE's, whose
  # visible tubes follow the clip's motion, as many in every time slot.
  kind: str = "tube"
  ratio: float = 0.9
  # Of motion. corrected: the mask goes with what moves. published: as MGMAE's
  # code has it by a misspelt word, against the motion in the frames before the
  # middle one; whether its released weights were trained so is not known.
  direction: str = "corrected"

  def __post_init__(self):
    freeze.choice("masking.kind", self.kind, ("tube", "random", "motion"))
    freeze.choice(
      "masking.direction", self.direction, ("corrected", "published")
    )
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
  # Of pixel: each tube's values by their own mean and deviation, as VideoMAE
  # trains; else they are the pixels, in [0, 1].
  normalize: bool = True

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
    self.check_divisors("float32")

  def check_divisors(self, dtype: str) -> None:
    """Refuses an epsilon or a temperature too small for the scores' error.

    Scores are divided by them. Measured with 512 prototypes of width 256, a
    score is off by 6e-7 at most in float32, by 9e-4 of bfloat16 products; at
    these bounds no entry of the plan is off by more than 1e-4 and .015.
    """
    least = {"float32": 0.001, "bfloat16": 0.005}[dtype]
    for name in ("epsilon", "temperature"):
      value = getattr(self, name)
      if value < least:
        raise ValueError(
          f"loss.{name} must be at least {least} where model.dtype is {dtype}, "
          f"got {value}: it would magnify the scores' rounding errors"
        )
