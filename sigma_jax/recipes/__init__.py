"""What configs have in common; `configs/` adds what is a run's own."""

from sigma_jax.recipes.judging import (
  attentive,
  finetune,
  knn,
  linear,
  own,
  set_data,
  supervised,
)
from sigma_jax.recipes.pretraining import mme, motion_guided, pretrain, vjepa
from sigma_jax.recipes.toys import (
  toy,
  toy_mme,
  toy_sigma,
  toy_supervised,
  toy_vjepa,
)

__all__ = [
  "attentive",
  "finetune",
  "knn",
  "linear",
  "mme",
  "motion_guided",
  "own",
  "pretrain",
  "set_data",
  "supervised",
  "toy",
  "toy_mme",
  "toy_sigma",
  "toy_supervised",
  "toy_vjepa",
  "vjepa",
]
