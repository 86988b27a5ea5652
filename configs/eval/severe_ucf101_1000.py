"""SEVERE, sample efficiency, 10 training clips a class of UCF101.

python -m sigma_jax.data.layouts ucf101 --split=1 --examples=1000 \
    --annotations=/data/ucf101/ucfTrainTestlist --videos=/data/ucf101 \
    --out=data/ucf101_1000
python -m sigma_jax.main --config=configs/eval/severe_ucf101_1000.py \
    --workdir=runs/eval/severe_ucf101_1000 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Data, clips and views by SIGMA's code; epochs and batch are assumed."""
  return recipes.finetune("ucf101_1000")
