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
from sigma_jax.recipes.pretraining import (
  clip_dino,
  clip_swav,
  mme,
  motion_guided,
  pretrain,
  vjepa,
)
from sigma_jax.recipes.toys import (
  toy,
  toy_dino,
  toy_mme,
  toy_sigma,
  toy_supervised,
  toy_swav,
  toy_vjepa,
)

__all__ = [
  "attentive",
  "clip_dino",
  "clip_swav",
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
  "toy_dino",
  "toy_mme",
  "toy_sigma",
  "toy_supervised",
  "toy_swav",
  "toy_vjepa",
  "vjepa",
]
