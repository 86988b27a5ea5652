"""Counting repetitions in toy videos, by fine-tuning.

python -m sigma_jax.data.toy_repetitions --out data/toy_repetitions
python -m sigma_jax.main --config=configs/eval/count_toy.py \
    --workdir=runs/toy/count --config.init=runs/toy

Without `init` the same is trained from scratch.
"""

from sigma_jax import recipes


def get_config():
  """Windows of 16 frames, about 1 to 3 repetitions, seen as 8."""
  config = recipes.toy_supervised("motion")
  recipes.set_data(config, "toy_repetitions")
  config.data.stride = 2
  return config
