"""SEVERE, domain shift, Something-Something v2.

python -m sigma_jax.data.layouts ssv2 \
    --annotations=/data/ssv2/labels --videos=/data/ssv2 --out=data/ssv2
python -m sigma_jax.main --config=configs/eval/severe_ssv2.py \
    --workdir=runs/eval/severe_ssv2 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """The same as configs/eval/finetune_ssv2.py."""
  return recipes.finetune("ssv2", epochs=40.0, batch_size=32)
