"""Frozen linear probe with augmentation: CIFAR-100.

python -m sigma_jax.data.layouts cifar100 --tfds=/data/tfds --download \
    --out=data/cifar100
python -m sigma_jax.main --config=configs/eval/linear_cifar100.py \
    --workdir=runs/eval/linear_cifar100 --config.init=runs/k400_vitb

What is published and what is assumed: docs/EVALUATION.md.
"""

from sigma_jax import recipes


def get_config():
  """Assumed: a clip repeats the image, enlarged; one centred test view."""
  return recipes.linear("cifar100")
