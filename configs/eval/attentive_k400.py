"""Attentive probe of a frozen encoder: Kinetics-400.

python -m sigma_jax.data.layouts kinetics400 \
    --annotations=/data/k400/annotations --videos=/data/k400 --out=data/k400
python -m sigma_jax.main --config=configs/eval/attentive_k400.py \
    --workdir=runs/eval/attentive_k400 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """V-JEPA's probe and its 8 x 3 test views, but each view by itself."""
  config = recipes.attentive("k400")
  config.supervised.views = (8, 3)
  return config
