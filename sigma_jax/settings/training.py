"""Optimiser, length of a run, devices."""

import dataclasses

from sigma_jax import freeze


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """AdamW.

  Learning rates are for 256 clips and scale with the batch. With the schedules
  "stretched" and "linear" they are V-JEPA's, and do not scale.
  """

  base_lr: float = 1.5e-4  # learning rate after the warm-up
  min_lr: float = 1e-5  # at the end
  # cosine: as VideoMAE, from 0 up to base_lr in the warm-up, then by a cosine
  # to min_lr. stretched: as V-JEPA, from start_lr, and made for a run `stretch`
  # times as long as this one, so that rate and weight decay do not reach their
  # ends; base_lr = min_lr keeps the rate. linear: V-JEPA 2's cooldown, without
  # warm-up, otherwise as stretched.
  schedule: str = "cosine"
  start_lr: float = 0.0  # of stretched, where the warm-up begins
  stretch: float = 1.25  # of stretched and linear
  b1: float = 0.9  # AdamW's beta 1
  b2: float = 0.95  # AdamW's beta 2
  weight_decay: float = 0.05
  # If not negative, weight decay goes there by a cosine over the run.
  weight_decay_end: float = -1.0
  warmup_epochs: float = 40.0  # in which the rate rises
  clip_norm: float = 0.0  # largest norm of the gradient; 0: no clipping
  # all: the norm is that of all gradients together. part: each part (encoder,
  # predictor, ...) is clipped by its own. parameter: each parameter is, as in
  # DINO.
  clip_by: str = "all"
  # Clipping begins only an epoch after the warm-up, as in V-JEPA.
  clip_after_warmup: bool = False

  def __post_init__(self):
    freeze.choice(
      "optimizer.schedule", self.schedule, ("cosine", "stretched", "linear")
    )
    freeze.choice(
      "optimizer.clip_by", self.clip_by, ("all", "part", "parameter")
    )
    freeze.not_negative("optimizer", self, "start_lr", "base_lr", "min_lr")
    if self.stretch < 1:
      raise ValueError(
        f"optimizer.stretch must be at least 1, got {self.stretch}"
      )
    freeze.within("optimizer", self, "[0, 1)", "b1", "b2")
    freeze.not_negative(
      "optimizer", self, "weight_decay", "warmup_epochs", "clip_norm"
    )


@dataclasses.dataclass(frozen=True)
class Train:
  """Length of the run and what it leaves behind."""

  batch_size: int = 640  # clips over all devices
  # Number of parts that a batch is computed in, to save memory. Assignments are
  # still those of the whole batch. The forward pass runs twice, which makes a
  # step a third more work.
  accumulate: int = 1
  epochs: float = 800.0  # length of the run
  steps: int = 0  # if positive, the length of the run instead of epochs
  log_every: int = 50  # steps
  checkpoint_every: int = 1000  # steps
  keep: int = 3  # newest checkpoints kept
  keep_every: int = 0  # steps; checkpoints at its multiples stay for good
  # Keeps the checkpoint with the best kNN of evaluate.every too, and saves one
  # at each evaluation; best.json names it.
  keep_best: bool = False
  # Goes on from the newest checkpoint with options other than the run's so far;
  # changes.jsonl notes them with their step.
  override: bool = False
  # Begins anew if all checkpoints of the workdir are damaged. Without it that
  # is an error, so that nobody trains from scratch without knowing it.
  start_over: bool = False

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

  data: int = -1  # -1: all devices that the other axis leaves
  # Over how many devices parameters are split. 0: up to 16, chips of one slice
  # or GPUs of one host. Each device keeps and updates its own share alone, and
  # no more is sent between devices.
  fsdp: int = 0
