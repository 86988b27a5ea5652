"""SEVERE, task shift: the actions of Charades, several a video.

python -m sigma_jax.data.layouts charades \
    --annotations=/data/charades/Charades --videos=/data/charades \
    --out=data/charades
python -m sigma_jax.main --config=configs/eval/severe_charades.py \
    --workdir=runs/eval/severe_charades --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data, targets, metric and views are published; the training is assumed."""
  return recipes.finetune("charades")
