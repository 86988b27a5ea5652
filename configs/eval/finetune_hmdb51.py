"""Full fine-tuning: HMDB51, split 1.

python -m sigma_jax.data.layouts hmdb51 --split=1 \
    --annotations=/data/hmdb51/testTrainMulti_7030_splits \
    --videos=/data/hmdb51/videos --out=data/hmdb51
python -m sigma_jax.main --config=configs/eval/finetune_hmdb51.py \
    --workdir=runs/eval/finetune_hmdb51 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Clips and views by SIGMA's code; epochs and batch are assumed."""
  return recipes.finetune("hmdb51")
