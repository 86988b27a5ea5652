"""Attentive probe of a frozen encoder: Something-Something v2.

python -m sigma_jax.data.layouts ssv2 \
    --annotations=/data/ssv2/labels --videos=/data/ssv2 --out=data/ssv2
python -m sigma_jax.main --config=configs/eval/attentive_ssv2.py \
    --workdir=runs/eval/attentive_ssv2 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """V-JEPA's probe and its 2 x 3 test views, but each view by itself, and with
  frames of segments, as SIGMA takes."""
  return recipes.attentive("ssv2")
