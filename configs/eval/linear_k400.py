"""Frozen linear probe with augmentation: Kinetics-400.

python -m sigma_jax.data.layouts kinetics400 \
    --annotations=/data/k400/annotations --videos=/data/k400 --out=data/k400
python -m sigma_jax.main --config=configs/eval/linear_k400.py \
    --workdir=runs/eval/linear_k400 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Training as published on SSv2; dense clips of 16 x 4, 5 x 3 test views."""
  return recipes.linear("k400")
