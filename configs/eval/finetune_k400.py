"""Full fine-tuning: Kinetics-400.

python -m sigma_jax.data.layouts kinetics400 \
    --annotations=/data/k400/annotations --videos=/data/k400 --out=data/k400
python -m sigma_jax.main --config=configs/eval/finetune_k400.py \
    --workdir=runs/eval/finetune_k400 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """As published: dense clips of 16 x 4 frames, 100 epochs of batches of 32 (so
  a rate of 1.25e-4), 5 x 3 test views."""
  return recipes.finetune("k400", epochs=100.0, batch_size=32)
