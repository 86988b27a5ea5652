"""Where clips come from, how they are cut and changed."""

import dataclasses

from sigma_jax import freeze


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
