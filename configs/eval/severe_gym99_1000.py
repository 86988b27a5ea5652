"""SEVERE, sample efficiency, 11 training clips a class of Gym99.

python -m sigma_jax.data.layouts gym99 --examples=1000 \
    --annotations=/data/gym99/annotations --videos=/data/gym99/subactions \
    --out=data/gym99_1000
python -m sigma_jax.main --config=configs/eval/severe_gym99_1000.py \
    --workdir=runs/eval/severe_gym99_1000 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data, clips and views by SIGMA's code; epochs and batch are assumed."""
  return recipes.finetune("gym99_1000")
