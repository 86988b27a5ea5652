"""Every option of a run: frozen dataclasses, defaults, checks.

This package is the only list of options, with one file for each subject. A
config file calls `default_config()` and changes values. `Settings.from_config`
turns the finished ml_collections config into the immutable `Settings` that the
rest of the code reads. If a key is unknown or a value is impossible, it says so
in one line.
"""

import dataclasses
import hashlib
import json
from typing import Any

import ml_collections

from sigma_jax import freeze, paths
from sigma_jax.settings.data import (
  Augment,
  Colours,
  Data,
  Luma,
  Share,
  Views,
)
from sigma_jax.settings.evaluation import Evaluate, Probe, Segmentation
from sigma_jax.settings.method import Method
from sigma_jax.settings.method import options as _method
from sigma_jax.settings.method import options_of as _method_options
from sigma_jax.settings.model import (
  COMPUTED,
  FLOW_LEAST,
  FLOW_STRIDE,
  TEACHERS,
  Loss,
  Masking,
  Model,
  Target,
)
from sigma_jax.settings.supervised import Supervised
from sigma_jax.settings.training import Mesh, Optimizer, Train

__all__ = [
  "COMPUTED",
  "FLOW_LEAST",
  "FLOW_STRIDE",
  "TEACHERS",
  "Augment",
  "Colours",
  "Data",
  "Evaluate",
  "Loss",
  "Luma",
  "Masking",
  "Mesh",
  "Method",
  "Model",
  "Optimizer",
  "Probe",
  "Segmentation",
  "Settings",
  "Share",
  "Supervised",
  "Target",
  "Train",
  "Views",
  "default_config",
]

# Options that are files or folders.
PATHS = (
  "init",
  "data.train",
  "data.val",
  "data.root",
  "data.label_sets",
  "masking.flow_weights",
  "target.weights",
  "evaluate.train",
  "evaluate.test",
  "supervised.train_targets",
  "supervised.val_targets",
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """One run. Sections mirror the config's; see each class for its keys."""

  task: str = "pretrain"  # pretrain, probe, supervised or segmentation
  seed: int = 0  # from 0 to 2^32 - 1
  # Whose parameters a fresh training starts from, or which encoder is judged:
  # a workdir (its newest checkpoint) or its checkpoints/STEP, a .pth or a
  # folder of transformers.
  init: str = ""
  data: Data = dataclasses.field(default_factory=Data)
  augment: Augment = dataclasses.field(default_factory=Augment)
  method: Method = dataclasses.field(default_factory=Method)
  model: Model = dataclasses.field(default_factory=Model)
  masking: Masking = dataclasses.field(default_factory=Masking)
  target: Target = dataclasses.field(default_factory=Target)
  loss: Loss = dataclasses.field(default_factory=Loss)
  optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
  train: Train = dataclasses.field(default_factory=Train)
  mesh: Mesh = dataclasses.field(default_factory=Mesh)
  evaluate: Evaluate = dataclasses.field(default_factory=Evaluate)
  probe: Probe = dataclasses.field(default_factory=Probe)
  supervised: Supervised = dataclasses.field(default_factory=Supervised)
  segmentation: Segmentation = dataclasses.field(default_factory=Segmentation)

  def __post_init__(self):
    freeze.seed("seed", self.seed)
    freeze.choice(
      "task", self.task, ("pretrain", "probe", "supervised", "segmentation")
    )
    if self.task in ("pretrain", "segmentation"):  # others may take init's
      freeze.positive("data", self.data, "num_frames", "stride", "size")
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
    if self.data.mixture and self.task != "pretrain":
      raise ValueError(
        "data.mixture is for pre-training: labels of several sets mean "
        f"different classes; task {self.task!r} needs data.train: one list "
        "with the rows of all sets, if their classes are the same"
      )
    if self.target.kind == "pixel" and self.loss.kind != "l2":
      raise ValueError("target.kind 'pixel' needs loss.kind 'l2' (VideoMAE)")
    if self.task == "pretrain":
      self.masking.check_size(self.data.size)
    if self.loss.kind == "assignment":
      self.loss.check_divisors(self.model.dtype)

  @property
  def grid(self) -> tuple[int, int, int]:
    """Tubes along time, height and width."""
    side = self.data.size // self.model.patch
    return (self.data.num_frames // self.model.tubelet, side, side)

  def like(self, trained: "Settings") -> "Settings":
    """With the clip geometry of a run, as far as it is not set (0) here."""
    data = {
      name: getattr(self.data, name) or getattr(trained.data, name)
      for name in ("num_frames", "stride", "size")
    }
    return dataclasses.replace(
      self, data=dataclasses.replace(self.data, **data)
    )

  @classmethod
  def from_config(cls, config: ml_collections.ConfigDict | dict) -> "Settings":
    """Checks names and types against the dataclasses and freezes the run.

    Raises:
      ValueError: one line naming the key and the nearest valid one.
    """
    if isinstance(config, ml_collections.ConfigDict):
      config = config.to_dict()
    values = _at_home(config)
    if "method" in values:
      values["method"] = _method(values["method"])
    return freeze.build(cls, values)

  def to_dict(self) -> dict[str, Any]:
    """Nested plain values, as JSON stores them (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  def fingerprint(self) -> str:
    """Twelve hex digits that change with any option."""
    text = json.dumps(self.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _at_home(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """The values with `~` in paths as the home folder."""
  return {
    name: _at_home(value, f"{prefix}{name}.")
    if isinstance(value, dict)
    else _expanded(value)
    if prefix + name in (*PATHS, "data.mixture")
    else value
    for name, value in tree.items()
  }


def _expanded(value: Any) -> Any:
  if isinstance(value, (tuple, list)):
    return tuple(map(_expanded, value))
  return paths.expand(value) if isinstance(value, str) else value


def default_config(method: str = "masked") -> ml_collections.ConfigDict:
  """The defaults as a locked, typed ConfigDict for config files to change.

  Args:
    method: whose options `config.method` has; see `Method`.

  Raises:
    ValueError: no such method.
  """
  options = dataclasses.asdict(_method_options(method)()) | {"name": method}
  values = dataclasses.asdict(Settings()) | {"method": options}
  return ml_collections.ConfigDict(values).lock()
