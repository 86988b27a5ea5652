"""kNN and linear probe on cached features: Kinetics-400.

python -m sigma_jax.data.layouts kinetics400 \
    --annotations=/data/k400/annotations --videos=/data/k400 --out=data/k400
python -m sigma_jax.main --config=configs/eval/knn_k400.py \
    --workdir=runs/eval/knn_k400 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Two clips of a training video; one centred test clip."""
  return recipes.knn("k400")
