"""The video model, its mask, its target and its loss."""

import dataclasses
import itertools

from sigma_jax import freeze

# The image ViTs that can be the teacher; `models.variants` has their facts.
TEACHERS = (
  *("dino_vits16", "dino_vitb16"),
  *("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14"),
  *("dinov2_vits14_reg", "dinov2_vitb14_reg", "dinov2_vitl14_reg"),
  *("dinov3_vits16", "dinov3_vitb16", "dinov3_vitl16"),
)


# Sides that the flow network can take: from the least up, multiples of the
# other. Below, its smallest correlation map is one pixel wide.
FLOW_LEAST, FLOW_STRIDE = 128, 8

POSITIONS = ("sine", "sine_3d", "sine_3d_quarter", "rotary")


_PRODUCTS = ("float32", "bfloat16")  # types of matrix products

# Options of `Model` that say how it is computed, not which model it is.
COMPUTED = ("dtype", "remat", "attention")


@dataclasses.dataclass(frozen=True)
class Model:
  """The masked video ViT: encoder on visible tubes, small decoder on all."""

  tubelet: int = 2  # frames per tube
  patch: int = 16  # pixels per side of a tube
  encoder_dim: int = 768  # width
  encoder_depth: int = 12  # blocks
  encoder_heads: int = 12  # of attention
  decoder_dim: int = 384  # width
  decoder_depth: int = 4  # blocks
  decoder_heads: int = 6  # of attention
  mlp_ratio: int = 4  # width inside a block's MLP, in widths of the block
  # Width inside the encoder's MLPs, if it is not a whole multiple of the
  # encoder's width (V-JEPA 2's ViT-g has 6144, with a width of 1408). 0:
  # mlp_ratio times the encoder's width.
  encoder_mlp_dim: int = 0
  # How a token's place is told. sine: a 1-D table over all tubes in order, as
  # VideoMAE. sine_3d: V-JEPA's table, a third of the channels each for time,
  # row and column. sine_3d_quarter: the same with a half, a quarter and a
  # quarter. rotary: as V-JEPA 2, attention turns queries and keys. See
  # models/positions.py.
  positions: str = "sine"
  key_bias: bool = False  # attention's keys have a bias too, as in V-JEPA
  norm_epsilon: float = 1e-6  # of LayerNorms
  # Which tokens frozen evaluations average. False: those before the encoder's
  # last LayerNorm, as VideoMAE and SIGMA do. True: those after it, as V-JEPA.
  pool_normed: bool = False
  # How new weights are drawn. published: as in SIGMA's code. xavier: every
  # linear map xavier-uniform, biases zero. vjepa: normal with deviation 0.02.
  # vjepa2: the same, with the last map of each branch of block i divided by
  # sqrt(2 i). See models/initial.py.
  init: str = "published"
  # For fine-tuning and evaluation at another size. Tubes along time, height and
  # width, such as (8, 14, 14): the position table of that grid is interpolated
  # to the clips' own (sine: bicubic in space and linear in time; the 3-D
  # tables: linear along all axes). Empty: the rows that the formula gives for
  # the clips' own tubes, as SIGMA and VideoMAE do; V-JEPA's code interpolates.
  # The option is kept with a run, whose checkpoints are read with that table.
  table_grid: tuple[int, ...] = ()
  # Type of the numbers that matrix products multiply: float32 or bfloat16. All
  # else stays float32. float32 is exact on every device, and slow on
  # accelerators. See sigma_jax/precision.py.
  dtype: str = "float32"
  # What the backward pass computes again, to save memory. none: nothing. light:
  # norms, GELU and sums. dots: all but products with weights. full: every
  # block.
  remat: str = "light"
  # auto: the best one for the device, a Pallas kernel on a TPU and cuDNN's on a
  # GPU. xla: XLA's own everywhere. See models/attention.py.
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
    freeze.choice("model.dtype", self.dtype, _PRODUCTS)
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
    freeze.not_negative("model", self, "encoder_mlp_dim")
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

  # tube: the same places in all frames. random: any tubes. motion: as MGMAE;
  # visible tubes follow the clip's motion, equally many in every time slot.
  kind: str = "tube"
  ratio: float = 0.9  # share of the tubes that is hidden
  # Of the kind motion. corrected: the mask goes with what moves. published: as
  # in MGMAE's code, where a misspelt word makes it go against the motion before
  # the middle frame. Whether its released weights were trained so is not known.
  direction: str = "corrected"
  # How the kind motion finds motion. lucas_kanade: from the pixels alone, by a
  # coarse search and rounds of Lucas and Kanade. raft_small: by the network of
  # MGMAE's code, for clips of 128 pixels a side or more. Its products are two
  # thirds of those of a ViT-B step.
  flow: str = "lucas_kanade"
  # Of raft_small: .pth, .safetensors or .npz, with Princeton's names or
  # torchvision's.
  flow_weights: str = ""
  flow_iterations: int = 6  # of raft_small
  flow_dtype: str = "float32"  # of raft_small's weights and convolutions

  def __post_init__(self):
    freeze.choice("masking.kind", self.kind, ("tube", "random", "motion"))
    freeze.choice(
      "masking.direction", self.direction, ("corrected", "published")
    )
    freeze.choice("masking.flow", self.flow, ("lucas_kanade", "raft_small"))
    freeze.choice("masking.flow_dtype", self.flow_dtype, _PRODUCTS)
    freeze.positive("masking", self, "flow_iterations")
    freeze.within("masking", self, "(0, 1)", "ratio")

  @property
  def has_network(self) -> bool:
    """Whether motion is found by a network with weights."""
    return self.kind == "motion" and self.flow != "lucas_kanade"

  def check_size(self, size: int) -> None:
    """Refuses clips that the flow network cannot take."""
    if self.has_network and (size < FLOW_LEAST or size % FLOW_STRIDE):
      raise ValueError(
        f"masking.flow {self.flow!r} needs data.size to be a multiple of "
        f"{FLOW_STRIDE} from {FLOW_LEAST} up, got {size}: give larger clips or "
        "masking.flow 'lucas_kanade'"
      )


@dataclasses.dataclass(frozen=True)
class Target:
  """The projection network whose embedding of the masked tubes is predicted."""

  kind: str = "mlp"  # mlp, pixel or dino
  dim: int = 256  # of the mlp's embedding; the other kinds have their own
  hidden: tuple[int, ...] = (1024, 1024, 512)  # widths inside the mlp
  variant: str = "dino_vitb16"  # which image model, if kind is dino
  weights: str = ""  # of dino: .pth, .safetensors, its folder, or .npz
  dtype: str = "float32"  # of dino's weights and matrix products
  # Of pixel. True: each tube's values are standardised by their own mean and
  # deviation, as VideoMAE trains. False: they are the pixels, from 0 to 1.
  normalize: bool = True

  def __post_init__(self):
    freeze.choice("target.kind", self.kind, ("mlp", "pixel", "dino"))
    freeze.choice("target.variant", self.variant, TEACHERS)
    freeze.choice("target.dtype", self.dtype, _PRODUCTS)
    freeze.positive("target", self, "dim")
    if not all(width > 0 for width in self.hidden):
      raise ValueError(f"target.hidden must be positive, got {self.hidden}")


@dataclasses.dataclass(frozen=True)
class Loss:
  """How the prediction is judged.

  `assignment` is SIGMA: each side predicts the other's prototype assignments,
  which Sinkhorn balances. `l2` is the mean squared error of the target's
  features: VideoMAE if the target is pixels, a collapse if it is learnt.
  """

  kind: str = "assignment"  # or l2
  num_prototypes: int = 3000  # k
  # Entropy regularisation of the transport problem. Smaller makes assignments
  # harder.
  epsilon: float = 0.05
  rounds: int = 10  # Sinkhorn rounds
  temperature: float = 0.1  # of the predicted distribution
  # hard: a tube's label is its largest share, as the published code trains.
  # soft: all its shares are the label, as in the paper's equation.
  labels: str = "hard"
  # What happens to exp(scores / epsilon) of all tubes between Sinkhorn's
  # rounds. keep: it is stored. recompute: it is made again, a tile at a time,
  # in memory that does not grow with the batch. auto: it is stored if it is
  # small.
  kernels: str = "auto"
  # Puts prototypes into a tree: how many nodes each level above the
  # num_prototypes leaves has, coarsest level first, each a whole multiple of
  # the one before. Empty: no tree.
  levels: tuple[int, ...] = ()
  # leaves: one transport over the leaves. A leaf's score is the mean of its own
  # and its ancestors'; a node's share is the sum of its leaves' shares.
  # top_down: a transport for the coarsest level. A node's children then divide
  # what each tube gave to the node, balanced over all nodes of their level.
  # independent: every level has a transport and a loss of its own, as a
  # control.
  hierarchy: str = "leaves"
  # With hierarchy leaves: the weight of every level's score in a leaf's score,
  # leaves last. They are scaled to sum 1. Empty: all alike.
  level_scores: tuple[float, ...] = ()
  # The weight of every level in the loss, likewise.
  level_weights: tuple[float, ...] = ()

  def __post_init__(self):
    freeze.choice("loss.kind", self.kind, ("assignment", "l2"))
    freeze.choice("loss.labels", self.labels, ("hard", "soft"))
    freeze.choice("loss.kernels", self.kernels, ("auto", "keep", "recompute"))
    freeze.positive("loss", self, "num_prototypes", "epsilon", "rounds")
    freeze.positive("loss", self, "temperature")
    self.check_divisors("float32")
    freeze.choice(
      "loss.hierarchy", self.hierarchy, ("leaves", "top_down", "independent")
    )
    self._check_levels()

  @property
  def counts(self) -> tuple[int, ...]:
    """Nodes of every level, leaves last."""
    return (*self.levels, self.num_prototypes)

  def per_level(self, name: str) -> tuple[float, ...]:
    """`level_scores` or `level_weights` of every level, of sum 1."""
    given = getattr(self, name) or (1.0,) * len(self.counts)
    return tuple(value / sum(given) for value in given)

  def _check_levels(self) -> None:
    for above, below in itertools.pairwise(self.counts):
      if above < 2 or below % above or below == above:
        raise ValueError(
          "loss.levels must be growing numbers from 2 up, each a divisor of "
          "the next and the last of loss.num_prototypes, got "
          f"{self.levels} and {self.num_prototypes}"
        )
    for name in ("level_scores", "level_weights"):
      values = getattr(self, name)
      if values and len(values) != len(self.counts):
        raise ValueError(
          f"loss.{name} needs a value for each of {len(self.counts)} levels, "
          f"leaves last, got {values}"
        )
      if values and (min(values) < 0 or sum(values) <= 0):
        raise ValueError(
          f"loss.{name} must not be negative, nor all 0, got {values}"
        )
    if self.level_scores and abs(sum(self.level_scores) - 1) > 1e-6:
      raise ValueError(
        f"loss.level_scores must have the sum 1, got {self.level_scores}"
      )

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
