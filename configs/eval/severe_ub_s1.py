"""SEVERE, action granularity, 15 classes of uneven bars.

python -m sigma_jax.data.layouts gym99 --subset=ub-s1 \
    --annotations=/data/gym99/annotations --videos=/data/gym99/subactions \
    --out=data/gym99_ub_s1
python -m sigma_jax.main --config=configs/eval/severe_ub_s1.py \
    --workdir=runs/eval/severe_ub_s1 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data, clips and views by SIGMA's code; epochs and batch are assumed."""
  return recipes.finetune("gym99_ub_s1")
