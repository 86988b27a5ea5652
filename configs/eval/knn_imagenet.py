"""kNN and linear probe on cached features: ImageNet-1K.

python -m sigma_jax.data.layouts imagenet --images=/data/imagenet \
    --devkit=/data/imagenet/ILSVRC2012_devkit_t12 --out=data/imagenet
python -m sigma_jax.main --config=configs/eval/knn_imagenet.py \
    --workdir=runs/eval/knn_imagenet --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """One clip an image, which repeats it."""
  return recipes.knn("imagenet")
