"""Training with labels: fine-tuning, linear and attentive probes."""

import dataclasses

from sigma_jax import freeze


@dataclasses.dataclass(frozen=True)
class Supervised:
  """What is trained on top of `init`'s encoder, and how it is tested.

  Clips come from `data`, their augmentation is `augment`, rates and length are
  `optimizer` and `train`.
  """

  trains: str = "all"  # all: fine-tuning; head: the encoder stays frozen
  # mean: LayerNorm of the mean token, then a linear map. attentive: V-JEPA's
  # attentive probe, a block of cross-attention whose query is learnt, then a
  # linear map. attention: our first version of it, with an output projection
  # and a LayerNorm after the block.
  pooling: str = "mean"
  # Of attentive: blocks of self-attention before the query. V-JEPA 2 has three.
  pool_blocks: int = 0
  pool_heads: int = 0  # of attentive; V-JEPA 2 has 16. 0: the encoder's number
  # A released attentive probe of V-JEPA or V-JEPA 2: nothing is trained, and
  # data.val is tested with it. Its file, or transformers' folder.
  head: str = ""
  # classes: one for each video, from the manifest. multilabel: several for
  # each. count: how often an action repeats.
  targets: str = "classes"
  label_set: str = ""  # of data.label_sets; empty: the first
  # Files beside the manifests, if targets are not classes: the .npz of several
  # labels or the .jsonl of repetitions.
  train_targets: str = ""
  val_targets: str = ""
  # Factors of optimizer.base_lr. Each has a head of its own, and all are
  # trained in one pass. The best on held-out training videos is tested. Several
  # factors need a frozen encoder.
  rates: tuple[float, ...] = (1.0,)
  holdout: float = 0.1  # share of the training videos held out to choose a rate
  head_scale: float = 0.001  # of the new linear map's initial weights
  layer_decay: float = 0.75  # of the rate, from block to block downwards
  drop_path: float = 0.1  # of the last block; falls linearly to 0 at the first
  # Decay of a moving average of the parameters, which is then what is tested;
  # 0: none.
  ema: float = 0.0
  # Test views in time and space, averaged by softmax (classes) or by their
  # maximum (multilabel).
  views: tuple[int, int] = (5, 3)
  test_batch_size: int = 64  # clips over all devices
  bootstrap: int = 1000  # resamples behind the confidence interval

  def __post_init__(self):
    freeze.choice("supervised.trains", self.trains, ("all", "head"))
    freeze.choice(
      "supervised.pooling", self.pooling, ("mean", "attentive", "attention")
    )
    freeze.choice(
      "supervised.targets", self.targets, ("classes", "multilabel", "count")
    )
    if self.pooling != "attentive" and (
      self.pool_blocks or self.pool_heads or self.head
    ):
      raise ValueError(
        "supervised.pool_blocks, pool_heads and head are of "
        f"supervised.pooling='attentive', and it is {self.pooling!r}"
      )
    freeze.not_negative("supervised", self, "pool_blocks", "pool_heads")
    if self.head and (
      self.trains != "head" or len(self.rates) > 1 or self.targets != "classes"
    ):
      raise ValueError(
        "supervised.head is tested as it is: set supervised.trains='head', "
        "supervised.targets='classes' and one value in supervised.rates"
      )
    freeze.positive("supervised", self, "test_batch_size", "bootstrap")
    freeze.positive("supervised", self, "layer_decay", "head_scale")
    if not self.rates or min(self.rates) <= 0:
      raise ValueError(
        f"supervised.rates needs one or more positive values, got {self.rates}"
      )
    if self.trains == "all" and len(self.rates) > 1:
      raise ValueError(
        "supervised.rates holds several values, which only heads on a frozen "
        "encoder can be trained with: set supervised.trains='head', or one rate"
      )
    freeze.within("supervised", self, "[0, 1)", "drop_path", "ema", "holdout")
    if len(self.rates) > 1 and not self.holdout:
      raise ValueError(
        "supervised.holdout must be positive to choose among supervised.rates"
      )
    if len(self.views) != 2 or min(self.views) < 1:
      raise ValueError(
        "supervised.views are two numbers from 1 up, in time and in space, got "
        f"{self.views}"
      )
    if self.targets != "classes" and not (
      self.train_targets and self.val_targets
    ):
      raise ValueError(
        f"supervised.targets {self.targets!r} needs supervised.train_targets "
        "and supervised.val_targets, the files that hold them"
      )
