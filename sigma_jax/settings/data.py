"""Where clips come from, how they are cut and changed."""

import dataclasses
from typing import NamedTuple

from sigma_jax import freeze

# Columns of lists without a header.
LIST_FORMS = (
  "path",
  "path,label",
  "path,frames,label",
  "path,start,frames",
  "path,start,frames,label",
)


class Reading(NamedTuple):
  """How lists and tars are read: `Data`'s options of these names."""

  list_form: str = ""
  tar_labels: str = ""


AS_TOLD = Reading()  # as their lines and members tell


class Share(NamedTuple):
  """One data set of a mixture.

  Attributes:
    path: as `Data.train`.
    weight: how much of the training is of it, relative to the others'.
    root: as `Data.root`; empty: that one.
  """

  path: str
  weight: float
  root: str = ""


@dataclasses.dataclass(frozen=True)
class Data:
  """Where clips come from and how they are cut.

  `train` and `val` are lists (`path label` lines, CSV, TSV, JSON lines or
  Parquet: docs/YOUR_DATA.md), folders of videos with a folder for each class,
  tars as webdataset writes them, or folders of the records that data.prepare
  writes. Relative paths in lists are taken from `root`, or from the list's
  folder where root is empty.
  """

  train: str = ""  # what is trained on
  # Several sets in place of `train`, in pre-training: (path, weight) or (path,
  # weight, root) of each, such as (("k400.csv", 0.7), ("ssv2.csv", 0.3)). Of
  # the first s examples each set gives its share, to less than one example.
  mixture: tuple[Share, ...] = ()
  val: str = ""  # what is tested on; pre-training shows its clips in the report
  root: str = ""  # folder of relative paths in lists; empty: the list's own
  # Columns of lists without a header, where their lines leave it open: path,
  # label, frames (how many the file has; not used), start (the first frame of a
  # part; then `frames` are the part's, -1: to the end). Such as
  # "path,frames,label". Empty: told from the lines.
  list_form: str = ""
  # JSON that maps the manifest's label to one class per label set (toy data
  # has two: appearance and motion); it, or a copy, has to be in the manifest's
  # folder or the one above. Empty: the label is the only set.
  label_sets: str = ""
  # Of tars, what labels are: cls, txt (a class's name) or json:KEY (a number or
  # a name). Empty: the first of cls, json:label and txt that there is.
  tar_labels: str = ""
  # num_frames, stride, size: 0 takes that of `init`'s run, in training with
  # labels. Probes take all three from there.
  num_frames: int = 16
  # dense: num_frames at `stride`; segments: one from each of num_frames equal
  # parts of the video (TSN, for Something-Something).
  sampling: str = "dense"
  stride: int = 4  # frames between two sampled frames, where sampling is dense
  size: int = 224  # side of the square model input, pixels
  # In training: multiscale (pre-training recipe), random_resized (fine-tuning
  # recipe) or center.
  crop: str = "multiscale"
  scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)  # of multiscale
  # Of random_resized, as shares of the frame.
  min_area: float = 0.08
  max_area: float = 1.0
  # How boxes are made smaller. True: each pixel is the mean of all that it
  # covers, as in Pillow and the published pre-training. False: the mean of the
  # nearest two each way, as in the published fine-tuning (PyTorch's
  # `interpolate`) and tests (OpenCV); whole frames become RGB first.
  antialias: bool = True
  # Training clips are mirrored at random, on the device. Leave it off if
  # classes differ by left and right, in training by class and in the
  # pre-training before it.
  flip: bool = False
  # Training clips cut from each video that is read: the same frames, each with
  # its own crop and flip. train.batch_size counts videos.
  samples: int = 1
  workers: int = 0  # parallel decodes per host; 0: one per core
  prefetch: int = 4  # batches held ready on the host
  # The run stops once it is practically certain that more than this share of
  # the files cannot be read: data.bad_share.
  max_bad_share: float = 0.02
  file_timeout: float = 30.0  # seconds allowed for decoding one clip

  @property
  def reading(self) -> Reading:
    """How `train` and `val` are read."""
    return Reading(self.list_form, self.tar_labels)

  def __post_init__(self):
    if self.list_form:
      freeze.choice("data.list_form", self.list_form, LIST_FORMS)
    freeze.choice("data.sampling", self.sampling, ("dense", "segments"))
    freeze.choice(
      "data.crop", self.crop, ("multiscale", "random_resized", "center")
    )
    freeze.positive("data", self, "samples", "file_timeout")
    if self.train and self.mixture:
      raise ValueError(
        "data.train and data.mixture both say what is trained on: set one of "
        f"them, got {self.train!r} and {len(self.mixture)} sets"
      )
    for share in self.mixture:
      if not share.path or share.weight <= 0:
        raise ValueError(
          "data.mixture needs a path and a weight above 0 for each set, got "
          f"{tuple(share)}"
        )
    freeze.not_negative("data", self, "num_frames", "stride", "size")
    freeze.not_negative("data", self, "workers", "prefetch")
    freeze.within("data", self, "(0, 1]", "min_area")
    freeze.within("data", self, "[0, 1]", "max_bad_share")
    if not self.min_area <= self.max_area <= 1:
      raise ValueError(
        "data.max_area must lie in [data.min_area, 1], got "
        f"{self.max_area} and {self.min_area}"
      )
    if not self.scales or not all(0 < s <= 1 for s in self.scales):
      raise ValueError(f"data.scales must lie in (0, 1], got {self.scales}")

  @property
  def trained_on(self) -> tuple[str, ...]:
    """Every path that training reads; () where none is set."""
    sets = tuple(share.path for share in self.mixture)
    return sets or ((self.train,) if self.train else ())


@dataclasses.dataclass(frozen=True)
class Views:
  """Further clips of every video: each of its own frames, crop and flip.

  A method asks for them; they are no section of the settings.

  Attributes:
    name: the batch's entry, uint8 [b, count, num_frames, size, size, 3].
    count: how many.
    num_frames, size: of each clip; stride and sampling are the settings'.
    area: smallest and largest share of the frame of a random_resized crop;
      None: crops as `Data.crop` says.
  """

  name: str
  count: int
  num_frames: int
  size: int
  area: tuple[float, float] | None = None

  def shape(self, videos: int) -> tuple[int, ...]:
    """Of the entry of so many videos."""
    return (videos, self.count, self.num_frames, self.size, self.size, 3)


@dataclasses.dataclass(frozen=True)
class Colours:
  """How the colours of a view are changed at random, its frames all alike.

  SwAV's and DINO's augmentation: torchvision's ColorJitter, grey, a Gaussian
  blur and solarisation, in this order. Zero switches a part off. A method asks
  for them, and checks them; they are no section of the settings.
  """

  jitter_prob: float = 0.8
  # Strengths: of brightness, contrast and saturation, as factors of 1 - x to
  # 1 + x; of hue, in turns of -x to x.
  jitter: tuple[float, ...] = (0.4, 0.4, 0.2, 0.1)
  grey_prob: float = 0.2
  blur_prob: float = 0.5
  # Its deviation is uniform between these, pixels.
  blur: tuple[float, ...] = (0.1, 2.0)
  solarize_prob: float = 0.0


@dataclasses.dataclass(frozen=True)
class Luma:
  """Grey frames of a video beside its clip, such as those left out between.

  No setting: what a method asks the pipeline for, `methods.method`.

  Attributes:
    every: from each so manyth frame of the clip on ...
    frames: ... so many frames of the video in a row, that one the first; past
      the video's end its last one comes again.
    size: side, pixels; cut out like the clip.
  """

  every: int
  frames: int
  size: int


@dataclasses.dataclass(frozen=True)
class Augment:
  """What supervised training does to clips on the device.

  The defaults are the recipe of VideoMAE and SIGMA for linear probes and
  fine-tuning: RandAugment "rand-m7-n4-mstd0.5-inc1", then random erasing, then
  mixup or cutmix of pairs. Zero switches a part off.
  """

  num_ops: int = 4  # RandAugment's draws a clip
  op_prob: float = 0.5  # that a draw is carried out
  magnitude: float = 7.0  # of 10
  magnitude_std: float = 0.5
  erase_prob: float = 0.25
  erase_fill: str = "pixel"  # pixel: normal noise; const: the mean colour
  mixup: float = 0.8  # alpha of Beta(alpha, alpha)
  cutmix: float = 1.0  # likewise
  switch_prob: float = 0.5  # of cutmix, where both are on
  label_smoothing: float = 0.1

  def __post_init__(self):
    freeze.choice("augment.erase_fill", self.erase_fill, ("pixel", "const"))
    freeze.not_negative(
      "augment", self, "num_ops", "magnitude_std", "mixup", "cutmix"
    )
    freeze.within("augment", self, "[0, 10]", "magnitude")
    freeze.within("augment", self, "[0, 1]", "op_prob", "erase_prob")
    freeze.within("augment", self, "[0, 1]", "switch_prob", "label_smoothing")
