"""What evaluations have in common: published ones and those of one's own clips.

Sources: the codes of VideoMAE, SIGMA and V-JEPA; docs/EVALUATION.md tells what
was verified.
"""

import ml_collections

from sigma_jax import settings


def supervised(trains: str) -> ml_collections.ConfigDict:
  """What fine-tuning and probes of a ViT-B have in common, as published.

  From the code of VideoMAE and SIGMA; docs/EVALUATION.md tells what was
  verified. Data set, epochs and sampling are the config's.

  Args:
    trains: all (fine-tuning) or head (probes of a frozen encoder).
  """
  config = settings.default_config()
  config.task = "supervised"
  config.data.num_frames = 16
  config.data.size = 224
  config.data.crop = "random_resized"
  config.data.min_area = 0.25
  config.data.samples = 2
  config.model.dtype = "bfloat16"
  config.supervised.trains = trains
  config.optimizer.base_lr = 1e-3
  config.optimizer.min_lr = 1e-6
  config.optimizer.b2 = 0.999
  config.optimizer.weight_decay = 0.05
  config.optimizer.warmup_epochs = 5.0
  config.train.batch_size = 384
  return config


# Of data sets whose targets are not classes: `supervised.targets`, and what
# the names of the files that hold them end in.
_TARGETS = {
  "charades": ("multilabel", "labels.npz"),
  "ucfrep": ("count", "repetitions.jsonl"),
  "toy_multilabel": ("multilabel", "labels.npz"),
  "toy_repetitions": ("count", "repetitions.jsonl"),
}
# Test views in time and space of data sets that are not tested as Kinetics is.
_VIEWS = {
  "ssv2": (2, 3),
  "charades": (10, 3),
  "imagenet": (1, 1),
  "cifar100": (1, 1),
}
# One frame from each part of a video, not a dense clip: what is told apart are
# whole gestures. (Dives are clips of 16 x 4 in SIGMA's code.)
_SEGMENTS = ("ssv2",)
_ONE_WAY = ("ssv2",)  # classes that tell left from right: never mirrored


def set_data(config: ml_collections.ConfigDict, dataset: str) -> None:
  """Takes data/<dataset>: manifests, targets, and how frames are sampled.

  Args:
    config: changed.
    dataset: name of a folder as the commands of docs/datasets write it.
  """
  folder = f"data/{dataset}"
  config.data.sampling = "segments" if dataset in _SEGMENTS else "dense"
  config.data.train = f"{folder}/train.csv"
  config.data.val = f"{folder}/val.csv"
  if dataset not in _TARGETS:
    config.data.label_sets = f"{folder}/label_sets.json"
    return
  config.data.label_sets = config.supervised.label_set = ""
  config.supervised.targets, name = _TARGETS[dataset]
  config.supervised.train_targets = f"{folder}/train_{name}"
  config.supervised.val_targets = f"{folder}/val_{name}"


def linear(dataset: str) -> ml_collections.ConfigDict:
  """Linear probe with augmentation; dataset as for `set_data`."""
  config = _supervised_on(dataset, "head")
  config.train.epochs = 30.0
  return config


def attentive(dataset: str) -> ml_collections.ConfigDict:
  """Attentive probe by the settings of V-JEPA's code, but of single clips.

  https://github.com/facebookresearch/jepa at 51c59d5,
  evals/video_classification_frozen.
  """
  config = _supervised_on(dataset, "head")
  config.supervised.pooling = "attentive"
  config.supervised.head_scale = 1.0
  config.data.samples = 1
  config.data.min_area = 0.08
  config.data.flip = False
  config.augment.mixup = 0.0
  config.augment.cutmix = 0.0
  config.augment.label_smoothing = 0.0
  config.optimizer.min_lr = 0.0
  config.optimizer.weight_decay = 0.01
  config.optimizer.weight_decay_end = 1e-6
  config.optimizer.warmup_epochs = 0.0
  config.optimizer.clip_norm = 1.0
  config.train.batch_size = 256
  config.train.epochs = 20.0
  return config


def finetune(
  dataset: str, epochs: float = 100.0, batch_size: int = 32
) -> ml_collections.ConfigDict:
  """Full fine-tuning; dataset as for `set_data`.

  Args:
    dataset: name.
    epochs, batch_size: as for K400 in SIGMA's scripts at 9876f09, which run
      eight times four videos a step; rates scale with the batch.
  """
  config = _supervised_on(dataset, "all")
  config.data.samples = 1
  config.train.epochs = epochs
  config.train.batch_size = batch_size
  return config


def knn(dataset: str) -> ml_collections.ConfigDict:
  """kNN and a linear map fitted by L-BFGS, both on cached features.

  Model, frames, stride and size come from `init`.
  """
  config = settings.default_config()
  config.task = "probe"
  set_data(config, dataset)
  if _views(dataset) == (1, 1):  # a still image has one clip
    config.probe.train_samples = 1
  return config


def own(protocol: str) -> ml_collections.ConfigDict:
  """Judging on one's own labelled clips, whose manifests are not known yet.

  Frames, stride and size of a clip are those of `init`'s run. Nothing is
  mirrored: classes may tell left from right. Batches are small and rates as
  many as one pass can try, since nobody has searched for them.

  Args:
    protocol: knn, linear, attentive or finetune.
  """
  config = settings.default_config()
  if protocol == "knn":
    config.task = "probe"
    config.probe.knn_k = 20
  else:
    config = supervised("all" if protocol == "finetune" else "head")
    config.data.samples = 1
    config.supervised.views = (2, 3)
    config.train.batch_size = 32
    config.train.epochs = 30.0
    config.train.checkpoint_every = 200
    config.train.log_every = 20
    config.optimizer.base_lr = 1e-3 * 256 / 32
    config.optimizer.warmup_epochs = 3.0
  if protocol == "linear":
    config.supervised.rates = (1.0, 3.0, 10.0, 30.0)
  elif protocol == "attentive":
    config.supervised.pooling = "attentive"
    config.supervised.head_scale = 1.0
    config.supervised.rates = (0.1, 0.3, 1.0)
  elif protocol == "finetune":
    config.optimizer.base_lr = 1e-3
  config.data.num_frames = config.data.stride = config.data.size = 0
  return config


def _supervised_on(dataset: str, trains: str) -> ml_collections.ConfigDict:
  """`supervised` on a data set, mirrored and tested as it allows."""
  config = supervised(trains)
  set_data(config, dataset)
  config.data.stride = 4
  config.data.antialias = False  # as published, see docs/EVALUATION.md
  config.data.flip = dataset not in _ONE_WAY
  config.supervised.views = _views(dataset)
  return config


def _views(dataset: str) -> tuple[int, int]:
  return _VIEWS.get(dataset, (5, 3))
