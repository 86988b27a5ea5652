"""Counting repetitions in toy videos, by fine-tuning.

python -m sigma_jax.data.toy.repetitions --out data/toy_repetitions
python -m sigma_jax.main --config=configs/eval/count_toy.py \
    --workdir=runs/toy/count --config.init=runs/toy

Without `init` the same is trained from scratch.
"""

from sigma_jax import recipes


def get_config():
  """Windows of 8 frames, from a quarter of a repetition to two."""
  config = recipes.toy_supervised("motion")
  recipes.set_data(config, "toy_repetitions")
  config.optimizer.base_lr = 1e-3 * 256 / 48
  return config
