"""How a trained encoder is judged."""

import dataclasses

from sigma_jax import freeze
from sigma_jax.settings.model import TEACHERS


@dataclasses.dataclass(frozen=True)
class Probe:
  """Frozen evaluation: linear probe and kNN on mean-pooled features."""

  batch_size: int = 64  # clips over all devices
  # Clips taken of each training video, the first centred in time, the others
  # at random starts. Validation videos give one centred clip.
  train_samples: int = 2
  layer: int = 0  # blocks run before pooling; 0: all of them
  # L2 penalties tried; the best on a fifth of the training clips is used.
  penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
  knn_k: int = 200  # neighbours that vote
  knn_temperature: float = 0.07  # a vote weighs exp(cosine / temperature)
  random_baseline: bool = True  # judges an untrained encoder too
  bootstrap: int = 1000  # resamples of the confidence interval

  def __post_init__(self):
    freeze.positive("probe", self, "batch_size", "train_samples", "knn_k")
    freeze.positive("probe", self, "knn_temperature", "bootstrap")
    if not self.penalties or min(self.penalties) < 0:
      raise ValueError(
        "probe.penalties needs one or more values from 0 up, got "
        f"{self.penalties}"
      )


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """Evaluations of the frozen encoder while pre-training goes on.

  kNN and a linear map, on one centred clip of each video. They change nothing
  of what is trained.
  """

  every: int = 0  # steps between two, and one after the last step; 0: none
  # Labelled lists or folders, as data.train and data.val, which stand in where
  # these are empty. data.label_sets counts where it is of them.
  train: str = ""  # whose clips classify
  test: str = ""  # whose clips are classified
  clips: int = 2000  # of each list, at most; the same ones every time
  knn_k: int = 20  # neighbours

  def __post_init__(self):
    freeze.positive("evaluate", self, "clips", "knn_k")
    freeze.not_negative("evaluate", self, "every")


@dataclasses.dataclass(frozen=True)
class Segmentation:
  """Unsupervised segmentation: k-means on the features of every clip.

  Clips come from `data`: `val` is a list of sequences or a folder as DAVIS
  has it; num_frames, size, sampling and stride cut the clips.
  """

  # The image model, one of TEACHERS, whose weights `init` holds; empty: `init`
  # is a video model.
  teacher: str = ""
  components: int = 50  # of the PCA
  clusters: int = 10  # of overclustering; clustering has one for each label
  iterations: int = 50  # of k-means, at most
  restarts: int = 5  # of k-means
  random_baseline: bool = True  # the same protocol on an untrained encoder
  bootstrap: int = 1000  # resamples behind the confidence interval
  overlays: int = 30  # clips of which pictures and a video are made
  # Data set whose published results are printed beside ours: davis, or empty.
  published: str = ""

  def __post_init__(self):
    freeze.choice("segmentation.teacher", self.teacher, ("", *TEACHERS))
    freeze.choice("segmentation.published", self.published, ("", "davis"))
    freeze.positive("segmentation", self, "components", "clusters", "restarts")
    freeze.positive("segmentation", self, "iterations", "bootstrap")
    freeze.not_negative("segmentation", self, "overlays")
