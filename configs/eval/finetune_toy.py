"""Fine-tuning on the toy clips, test views averaged: a minute on CPU.

python -m sigma_jax.main --config=configs/eval/finetune_toy.py \
    --workdir=runs/toy/finetune --config.init=runs/toy

Without `init` the same is trained from scratch. `:appearance` after the config
takes the other set of labels.
"""

from sigma_jax import recipes


def get_config(label_set: str = "motion"):
  """Chosen by the experiments in docs/LOG.md."""
  return recipes.toy_supervised(label_set, trains="all")
