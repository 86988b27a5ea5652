"""SEVERE, task shift: counting repetitions in UCFRep.

python -m sigma_jax.data.layouts ucfrep \
    --annotations=/data/ucfrep/annotations --videos=/data/ucfrep/UCF-101 \
    --out=data/ucfrep
python -m sigma_jax.main --config=configs/eval/severe_ucfrep.py \
    --workdir=runs/eval/severe_ucfrep --config.init=runs/k400_vitb

The AVI files are decoded from the start for every window; docs/DATA.md tells
how to prepare records, which are not.

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data and metric are published; how repetitions are counted is ours."""
  return recipes.finetune("ucfrep")
