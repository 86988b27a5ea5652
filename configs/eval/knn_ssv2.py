"""kNN and linear probe on cached features: Something-Something v2.

python -m sigma_jax.data.layouts ssv2 \
    --annotations=/data/ssv2/labels --videos=/data/ssv2 --out=data/ssv2
python -m sigma_jax.main --config=configs/eval/knn_ssv2.py \
    --workdir=runs/eval/knn_ssv2 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Frames of 16 segments, as for training on it; one centred test clip."""
  return recipes.knn("ssv2")
