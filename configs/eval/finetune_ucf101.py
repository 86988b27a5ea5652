"""Full fine-tuning: UCF101, split 1.

python -m sigma_jax.data.layouts ucf101 --split=1 \
    --annotations=/data/ucf101/ucfTrainTestlist --videos=/data/ucf101 \
    --out=data/ucf101
python -m sigma_jax.main --config=configs/eval/finetune_ucf101.py \
    --workdir=runs/eval/finetune_ucf101 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data, clips and views by SIGMA's code; epochs and batch are assumed."""
  return recipes.finetune("ucf101")
