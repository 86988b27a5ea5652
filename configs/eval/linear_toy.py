"""Linear probe of a frozen toy encoder, with augmentation, rates in one pass.

python -m sigma_jax.main --config=configs/eval/linear_toy.py \
    --workdir=runs/toy/linear --config.init=runs/toy

Without `init` a random encoder is probed. `:appearance` after the config takes
the other set of labels. configs/eval/knn_toy.py fits the same probe on cached
features, without augmentation.
"""

from sigma_jax import recipes


def get_config(label_set: str = "motion"):
  """Chosen by the experiments in docs/LOG.md."""
  config = recipes.toy_supervised(label_set, trains="head")
  config.supervised.rates = (10.0, 30.0, 100.0)
  return config
