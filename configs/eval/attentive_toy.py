"""Attentive probe of a frozen toy encoder, two rates in one pass.

python -m sigma_jax.main --config=configs/eval/attentive_toy.py \
    --workdir=runs/toy/attentive --config.init=runs/toy

Without `init` a random encoder is probed. `:appearance` after the config takes
the other set of labels.
"""

from sigma_jax import recipes


def get_config(label_set: str = "motion"):
  """Chosen by the experiments in docs/LOG.md."""
  config = recipes.toy_supervised(label_set, trains="head")
  config.supervised.pooling = "attentive"
  config.supervised.head_scale = 1.0
  config.supervised.rates = (0.3, 1.0)
  return config
