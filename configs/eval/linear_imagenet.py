"""Frozen linear probe with augmentation: ImageNet-1K.

python -m sigma_jax.data.layouts imagenet --images=/data/imagenet \
    --devkit=/data/imagenet/ILSVRC2012_devkit_t12 --out=data/imagenet
python -m sigma_jax.main --config=configs/eval/linear_imagenet.py \
    --workdir=runs/eval/linear_imagenet --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Assumed: a clip repeats the image; one centred test view."""
  return recipes.linear("imagenet")
