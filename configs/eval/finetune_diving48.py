"""Full fine-tuning: Diving48, labels of version 2.

python -m sigma_jax.data.layouts diving48 --annotations=/data/diving48 \
    --videos=/data/diving48 --out=data/diving48
python -m sigma_jax.main --config=configs/eval/finetune_diving48.py \
    --workdir=runs/eval/finetune_diving48 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data, clips and views by SIGMA's code; epochs and batch are assumed."""
  return recipes.finetune("diving48")
